"""What the exit code of a command means, for scripts; the reference page prints this table.

====  ==========================================================================================
code  meaning
====  ==========================================================================================
0     done, and the answer is yes: shipped, a rollout began, calm enough, every check passed
1     it could not be done, or a check failed; one message on stderr says what, where and what to do
2     the command was written wrongly: an unknown option, a missing argument
3     done, and the answer is no: the champion was kept, the version waits for approval, or drift
      reached the level of ``--fail-on``
4     it could not be done yet, because the model has no champion: its first retrain makes one
130   interrupted from the keyboard
====  ==========================================================================================
"""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2
NO = 3
NO_CHAMPION = 4
INTERRUPTED = 130
