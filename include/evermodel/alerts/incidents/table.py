"""A model's incidents in the database, where they change in one transaction with their messages."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from evermodel.alerts.incidents.state import IncidentState
from evermodel.alerts.incidents.store import StoredIncidents
from evermodel.core.database.tables import incidents
from evermodel.core.errors import NewerFormatError
from evermodel.core.formats import loads, stamped
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from sqlalchemy import Connection

_log = logging.getLogger(__name__)


def newest(connection: Connection, model: str, tagged: StoredIncidents) -> StoredIncidents:
    """Return the incidents as the database has them, or the registry's tag where that is of a later window.

    The tag is written after the database, for pages and digests. It is later if a process of an earlier release, which knows
    no database, handled the last window.
    """
    mine = (incidents.c.model == model) & (incidents.c.origin == tagged.origin)
    text = connection.scalar(select(incidents.c.content).where(mine))
    try:
        data = {} if text is None else loads(text, f"the incidents of model {model} in the database")
        stored = {kind: IncidentState.from_json(state) for kind, state in data.items()}
    except NewerFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        _log.error(
            "the incidents of model %s in the database cannot be read, the tag's go on: %.500s", model, text
        )
        return tagged
    found = tagged
    for kind, state in stored.items():
        if not _is_later(tagged.of(kind), state):
            found = found.having(kind, state)
    return found


def write(connection: Connection, model: str, stored: StoredIncidents) -> None:
    """Write a model's incidents inside a transaction."""
    mine = (incidents.c.model == model) & (incidents.c.origin == stored.origin)
    content = json.dumps(stamped({kind: state.to_json() for kind, state in stored.states.items()}))
    connection.execute(delete(incidents).where(mine))
    connection.execute(
        insert(incidents).values({"model": model, "origin": stored.origin, "content": content})
    )


def _is_later(state: IncidentState, other: IncidentState) -> bool:
    if state.last is None or other.last is None:
        return state.last is not None
    return parse_moment(state.last) > parse_moment(other.last)
