"""Checks of the newest rows by themselves: what spoils them alone is a small share of the whole snapshot.

The newest rows are those that the gate tests on and that tomorrow's rows look like. If they are left out almost
whole, the gate sees old rows only and its answer says nothing about now.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from evermodel.data.validation.profile import SnapshotProfile, variants_of
from evermodel.data.validation.report import CheckResult, Severities
from evermodel.data.validation.rows import RowRule, any_broken, quarantining
from evermodel.data.validation.scan import Scan, name, text
from evermodel.data.validation.schema_file import TableSchema
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, whole_day

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DAY, _WEEK = timedelta(days=1), 7
# A share of fewer rows is an accident.
_MIN_ROWS = 20


@dataclass(frozen=True)
class _Counted:
    """What is counted by the age of the rows.

    Parameters
    ----------
    aside
        SQL that is true of rows to quarantine; empty if there are none.
    nulls
        SQL of a missing value, by column.
    unknown
        SQL of a value that is missing from the schema file, by column.
    end
        The moment that ages are counted from.
    """

    aside: str
    nulls: Mapping[str, str]
    unknown: Mapping[str, str]
    end: datetime


def _counted(
    spec: ModelSpec,
    scan: Scan,
    rules: Sequence[RowRule],
    profile: SnapshotProfile,
    schema: TableSchema | None,
    window: Window | None,
) -> _Counted | None:
    """Return what has to be counted by age; None if nothing has, or if the rows have no time."""
    if not profile.newest:
        return None
    columns = {c: profile.columns[c] for c in spec.features.names if c in profile.columns}
    nulls = {c: _missing(scan, c) for c, column in columns.items() if column.nulls}
    unknown = {}
    for column in spec.features.categorical:
        declared = None if schema is None else schema.columns.get(column)
        if column not in columns or declared is None or declared.categories is None:
            continue
        known = [*declared.categories, *variants_of(columns[column].values, declared.categories)]
        if not columns[column].listed or set(columns[column].values) - set(known):
            unknown[column] = f"{name(column)}::VARCHAR NOT IN ({', '.join(map(text, known)) or 'NULL'})"
    aside = any_broken(quarantining(rules))
    if not (aside or nulls or unknown):
        return None
    end = whole_day(profile.newest) + _DAY if window is None else window.end
    return _Counted(aside, nulls, unknown, end)


def recency_checks(
    spec: ModelSpec,
    scan: Scan,
    rules: Sequence[RowRule],
    profile: SnapshotProfile,
    schema: TableSchema | None,
    severities: Severities,
    window: Window | None,
    reasons: tuple[str, ...] = (),
) -> Iterator[CheckResult]:
    """Check the newest day and week, and the parts of the split that decide, each by itself.

    Quarantined rows are compared with `max_recent_quarantine_share`, unknown categories with
    `max_unknown_share`, and missing values against the worst earlier day or week of the same snapshot, from which
    they may grow by `max_null_jump`. Periods of fewer than 20 rows are not judged.

    Parameters
    ----------
    rules
        Of single rows; those of severity ``quarantine`` say which rows are left out.
    window
        The interval that the snapshot was taken for; without it the parts of the split are unknown.
    reasons
        Why rows are quarantined, for the message.
    """
    wanted = _counted(spec, scan, rules, profile, schema, window)
    ages = None if wanted is None else _count(scan, spec.time_column, wanted)
    if wanted is None or ages is None:
        return
    limits = spec.validation
    for period in ages.periods(spec, window):
        if wanted.aside:
            limit, (bad, rows) = limits.max_recent_quarantine_share, ages.counted("aside", period.rows)
            said = f"{bad} of {rows} rows ({bad / rows:.1%})"
            title, allowed = f"quarantined rows {period.name}", f"at most {limit:.0%}"
            fine, kind = bad <= limit * rows, "recent_quarantine"
            yield CheckResult(title, fine, said, allowed, kind=kind, rows=bad, examples=reasons)
        for column in wanted.unknown:
            limit, (bad, rows) = limits.max_unknown_share, ages.counted(f"unknown {column}", period.rows)
            title = f"rows of unknown categories in {column} {period.name}"
            said, allowed = f"{bad / rows:.2%}", f"at most {limit:.2%}"
            fine = bad <= limit * rows
            yield severities.check("category_share", title, fine, said, allowed, column, bad)
        for column in wanted.nulls:
            worst = ages.worst_before(f"nulls {column}", period)
            if worst is not None:
                limit, (bad, rows) = limits.max_null_jump, ages.counted(f"nulls {column}", period.rows)
                title = f"nulls in {column} {period.name}"
                said = f"{bad / rows:.2%}, before in no {period.unit} more than {worst:.2%}"
                allowed, fine = f"at most {100 * limit:g} points more", bad / rows - worst <= limit
                yield severities.check("null_jump", title, fine, said, allowed, column, bad)


@dataclass(frozen=True)
class _Period:
    """Some of the ages; `days` is the length of what it is compared with, 0 if it is compared with nothing."""

    name: str
    rows: NDArray[np.bool_]
    days: int = 0

    @property
    def unit(self) -> str:
        return "day" if self.days == 1 else "week"


@dataclass(frozen=True)
class _Ages:
    """Counts by age in whole days before `end`, the newest first."""

    end: datetime
    days: NDArray[np.int64]
    counts: Mapping[str, NDArray[np.int64]]

    def counted(self, what: str, rows: NDArray[np.bool_]) -> tuple[int, int]:
        return int(self.counts[what][rows].sum()), int(self.counts["rows"][rows].sum())

    def periods(self, spec: ModelSpec, window: Window | None) -> Iterator[_Period]:
        """Give each different period of enough rows once."""
        first = int(self.days[0])
        day = f"{self.end - (first + 1) * _DAY:%Y-%m-%d}"
        found = [
            _Period(f"of the newest day ({day})", self.days == first, 1),
            _Period("of the newest week", self.days < first + _WEEK, _WEEK),
        ]
        if window is not None:
            test = math.ceil(spec.split.test / _DAY)
            validation = test + math.ceil(spec.split.validation / _DAY)
            found.append(_Period("of the test part", self.days < test))
            found.append(_Period("of the validation part", (self.days >= test) & (self.days < validation)))
        seen: set[bytes] = set()
        for period in found:
            if period.rows.tobytes() not in seen and self.counts["rows"][period.rows].sum() >= _MIN_ROWS:
                seen.add(period.rows.tobytes())
                yield period

    def worst_before(self, what: str, period: _Period) -> float | None:
        """Return the largest share in an earlier day or week; None if there was none of enough rows."""
        import numpy as np

        if not period.days:
            return None
        place = (self.days - self.days[0]) // period.days
        part, whole = (np.bincount(place, self.counts[of]) for of in (what, "rows"))
        judged = whole >= _MIN_ROWS
        judged[0] = False
        return float((part[judged] / whole[judged]).max()) if judged.any() else None


def _missing(scan: Scan, column: str) -> str:
    empty = f"{name(column)} IS NULL"
    return f"({empty} OR isnan({name(column)}))" if scan.has_fractions(column) else empty


def _count(scan: Scan, time: str, wanted: _Counted) -> _Ages | None:
    import numpy as np

    parts = {"rows": "count(*)"}
    if wanted.aside:
        parts["aside"] = f"count(*) FILTER ({wanted.aside})"
    parts |= {f"nulls {c}": f"count(*) FILTER ({sql})" for c, sql in wanted.nulls.items()}
    parts |= {f"unknown {c}": f"count(*) FILTER ({sql})" for c, sql in wanted.unknown.items()}
    end = wanted.end.astimezone(UTC).timestamp()
    age = f"ceil(({end!r} - epoch({name(time)}::TIMESTAMPTZ)) / 86400)::BIGINT - 1"
    query = f"SELECT {age} AS age, {', '.join(parts.values())} FROM {scan.source} GROUP BY 1"
    found = scan.rows(f"SELECT * FROM ({query}) WHERE age >= 0 ORDER BY age")
    if not found:
        return None
    days, *counts = np.array(found, dtype=np.int64).T
    return _Ages(wanted.end, days, dict(zip(parts, counts, strict=True)))
