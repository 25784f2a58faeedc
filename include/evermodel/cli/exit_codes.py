"""Exit codes of commands, for scripts; the reference page prints this table.

====  ==========================================================================================
code  meaning
====  ==========================================================================================
0     success: a version shipped or its rollout started, no alarm, every check passed
1     error, or a check failed; one message on stderr gives the problem, the place and the fix
2     usage error: an unknown option, a missing argument
3     negative result: the champion was kept, the version waits for approval, or drift
      reached the level of ``--fail-on``
4     the model has no champion yet: run its first retrain
75    `evermodel step` failed for a reason that may pass, such as a server that does not answer
130   interrupted from the keyboard
====  ==========================================================================================
"""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2
NO = 3
NO_CHAMPION = 4
TRY_AGAIN = 75
INTERRUPTED = 130
