"""The audit log: one line for every change of what serves, with its author.

The registry keeps the same facts for good (`evermodel.registry.registry_entry`, tags of versions). The lines are for a log store
that watches several registries; the logger is ``evermodel.audit``. In Airflow they are in the log of the task; the command
line appends them to ``audit.log`` in ``EVERMODEL_HOME``.
"""

from __future__ import annotations

import json
import logging

LOG = logging.getLogger("evermodel.audit")


def audit(event: str, model: str, **facts: object) -> None:
    """Write one line, as ``key=value`` pairs; values with blanks are quoted as JSON.

    Parameters
    ----------
    event
        What happened: ``promotion``, ``rollback``, ``approval``, ``rejection``, ``traffic``, or ``override``: a version
        was shipped in spite of a negative gate or decision.
    facts
        What else is to be known; what is None is left out.
    """
    pairs = {"event": event, "model": model, **facts}
    LOG.info(" ".join(f"{key}={_written(value)}" for key, value in pairs.items() if value is not None))


def _written(value: object) -> str:
    """Return a value as one word.

    >>> _written("go"), _written("a new season"), _written('two\\nlines')
    ('go', '"a new season"', '"two\\\\nlines"')
    """
    text = str(value)
    plain = bool(text) and not any(c.isspace() or c in '"=\\' or not c.isprintable() for c in text)
    return text if plain else json.dumps(text)
