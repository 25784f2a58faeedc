"""The history of a watched model in the database: each window's verdict, the requests, and the incidents' transitions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import delete, func, insert, select

from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import verdicts
from evermodel.core.formats import loads, stamped
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.problems import Severity
from evermodel.monitoring.retrain_history import Request, severities_of
from evermodel.monitoring.summary_tags import day_facts
from evermodel.spec.window import parse_moment

_KEPT = ("answer", "request", "transitions")  # what a window keeps when it is evaluated again


@dataclass(frozen=True)
class PastVerdict:
    """The verdict on one window in short.

    Parameters
    ----------
    end
        End of the window, ISO 8601, UTC.
    facts
        ``severities``, ``drifting`` and ``performance`` of the verdict; ``day``, its facts for the time line (missing in
        verdicts of earlier releases); ``answer`` and ``request`` of the retrain policy; and ``transitions`` of incidents.
    """

    end: str
    version: str
    severity: Severity
    reason: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class VerdictHistory:
    """The verdicts on one model, in the table ``evermodel_verdict``.

    Parameters
    ----------
    address
        SQLAlchemy's URL of the database.
    """

    address: str
    model: str

    def write(self, verdict: DriftVerdict) -> None:
        """Store a verdict, instead of an earlier one on the same window."""
        end, facts = _utc(parse_moment(verdict.end)), _facts(verdict)
        row = {
            "model": self.model,
            "window_end": end,
            "window_start": _utc(parse_moment(verdict.start)),
            "version": verdict.version,
            "severity": verdict.severity,
            "reason": verdict.reason,
            "window_rows": verdict.window_rows,
        }
        mine = (verdicts.c.model == self.model) & (verdicts.c.window_end == end)
        with open_database(self.address).writing() as connection:
            text = connection.scalar(select(verdicts.c.content).where(mine))
            before = loads(text, f"the verdict {end} of model {self.model}") if text else {}
            facts |= {name: before[name] for name in _KEPT if name in before}
            connection.execute(delete(verdicts).where(mine))
            connection.execute(insert(verdicts).values({**row, "content": _text(facts)}))

    def add(self, as_of: datetime, **facts: Any) -> None:
        """Add to the facts of a window; a list is continued, without repetitions."""
        mine = (verdicts.c.model == self.model) & (verdicts.c.window_end == _utc(as_of))
        with open_database(self.address).writing() as connection:
            text = connection.scalar(select(verdicts.c.content).where(mine))
            if text is None:
                return
            known = loads(text, f"the verdict {as_of} of model {self.model}")
            for name, value in facts.items():
                if isinstance(value, list):
                    before = known.get(name, [])
                    value = [*before, *(one for one in value if one not in before)]
                known[name] = value
            connection.execute(verdicts.update().where(mine).values(content=_text(known)))

    def until(self, as_of: datetime | None = None, *, since: datetime | None = None) -> list[PastVerdict]:
        """Return the verdicts on windows that end before a moment, the newest first; all of them without one.

        Parameters
        ----------
        since
            Windows that end earlier are left out.
        """
        columns = verdicts.c
        wanted = columns.model == self.model
        if as_of is not None:
            wanted &= columns.window_end < _utc(as_of)
        if since is not None:
            wanted &= columns.window_end >= _utc(since)
        query = select(
            columns.window_end, columns.version, columns.severity, columns.reason, columns.content
        ).where(wanted)
        with open_database(self.address).reading() as connection:
            found = connection.execute(query.order_by(columns.window_end.desc())).fetchall()
        what = f"a verdict of model {self.model}"
        return [PastVerdict(*row[:4], loads(row[4], what)) for row in found]

    @staticmethod
    def severities(past: list[PastVerdict], version: str, most: int) -> list[dict[str, Severity]]:
        """Return the severities of the last windows of a version, the newest first."""
        return [one.facts["severities"] for one in past if one.version == version][:most]

    @staticmethod
    def requests(past: list[PastVerdict]) -> list[Request]:
        """Return the requests of a retrain, oldest first."""
        return [Request(**one.facts["request"]) for one in reversed(past) if "request" in one.facts]

    @staticmethod
    def incident_days(past: list[PastVerdict]) -> frozenset[date]:
        """Return the ends of the windows with bad data or critical performance."""
        return frozenset(
            parse_moment(one.end).date()
            for one in past
            if one.facts["severities"].get("quality", "none") != "none"
            or one.facts["severities"].get("performance") == "critical"
        )


def window_counts(address: str) -> dict[str, tuple[int, str]]:
    """Return how many windows of each watched model have a verdict, and the end of the last one (ISO 8601, UTC)."""
    columns = verdicts.c
    query = select(columns.model, func.count(), func.max(columns.window_end)).group_by(columns.model)
    with open_database(address).reading() as connection:
        return {model: (count, last) for model, count, last in connection.execute(query)}


def _facts(verdict: DriftVerdict) -> dict[str, Any]:
    return {
        "severities": severities_of(verdict),
        "drifting": list(dict.fromkeys(column.column for column in verdict.drifting)),
        "performance": asdict(verdict.performance),
        "day": day_facts(verdict),
    }


def _text(facts: Mapping[str, Any]) -> str:
    return json.dumps(stamped(facts), sort_keys=True)


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
