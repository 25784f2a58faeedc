"""Measure a snapshot: the engine reads each column once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from evermodel.data.validation.profile import ColumnProfile, SnapshotProfile
from evermodel.data.validation.scan import Scan, name
from evermodel.spec import ModelSpec

_VALUES = 1000
_BLOCKS, _BLOCK_ROWS = 2, 5000
# Where the mean is so many times the spread, sums of squares would lose their digits.
_FAR = 1000.0
_NEAR = 0.8
# Sixteen bytes each while they are sorted.
_SORTED_ROWS = 20_000_000


@dataclass(frozen=True)
class Outline:
    """What can be known of a snapshot before its numbers are read.

    Parameters
    ----------
    profile
        Rows, categories, and lowest and highest numbers, which the file's own statistics tell; not-a-number and
        infinity may be among these.
    sample
        Arrays by column: numbers as they are, categories as hashes; blocks of the rows.
    """

    profile: SnapshotProfile
    sample: Mapping[str, Any]


def outline(spec: ModelSpec, scan: Scan) -> Outline:
    """Look at every column of a snapshot that is there, without reading its numbers."""
    rows = int(scan.row(["count(*)"])[0])
    present = [column for column in dict.fromkeys(spec.columns) if column in scan.types]
    columns = {c: ColumnProfile(scan.types[c], _is_numeric(spec, c)) for c in present}
    if rows == 0:
        return Outline(SnapshotProfile(0, 0, "", "", columns), {})
    oldest, newest, columns = _bounds(spec, scan, columns)
    columns = _with_values(spec, scan, columns)
    return Outline(SnapshotProfile(rows, 0, oldest, newest, columns), _sample(spec, scan, columns, rows))


def complete(
    spec: ModelSpec, scan: Scan, seen: Outline, counts: Sequence[str]
) -> tuple[SnapshotProfile, Sequence[int]]:
    """Read the numbers once: their means and spreads, the different ids, and the requested counts.

    Parameters
    ----------
    seen
        What `outline` returned.
    counts
        SQL aggregates that give a count each.
    """
    rows, columns = seen.profile.rows, dict(seen.profile.columns)
    ids = _different(scan, spec.id_column, rows) if spec.id_column in columns else 0
    numeric = [column for column, profile in columns.items() if profile.numeric]
    centres = {column: _centre(seen.sample[column]) for column in numeric}
    parts = [*counts, *(f"count({name(column)})" for column in columns)]
    for column in numeric:
        number = scan.number(column) + (f" - {centres[column]!r}" if centres[column] else "")
        parts += [f"sum({number})", f"sum(({number}) * ({number}))"]
        parts.append(f"approx_count_distinct({name(column)})" if scan.is_whole(column) else "NULL")
    found = iter(scan.row(parts))
    counted = [int(next(found)) for _ in counts]
    columns = {c: replace(profile, nulls=rows - int(next(found))) for c, profile in columns.items()}
    for column in numeric:
        before = columns[column]
        total, squares, distinct = (next(found) for _ in range(3))
        mean, sd = _moments(rows - before.nulls - before.not_numbers, total, squares, centres[column])
        columns[column] = replace(before, mean=mean, sd=sd, distinct=distinct)
    columns = _with_exact(scan, _with_specials(scan, columns), rows)
    return replace(seen.profile, ids=ids, columns=columns), counted


def _different(scan: Scan, column: str, rows: int) -> int:
    """Count the different values of a column that should have no value twice.

    Sorting their hashes takes half the time of the engine's exact count, which is asked only if two are equal.
    """
    import numpy as np

    if rows <= _SORTED_ROWS:
        query = f"SELECT hash({name(column)}) AS h FROM {scan.source} WHERE {name(column)} IS NOT NULL"
        hashes = np.ma.getdata(scan.connection.execute(query).fetchnumpy()["h"])
        hashes.sort()
        if not (hashes[1:] == hashes[:-1]).any():
            return len(hashes)
    return int(scan.row([f"count(DISTINCT {name(column)})"])[0])


def _with_exact(scan: Scan, columns: dict[str, ColumnProfile], rows: int) -> dict[str, ColumnProfile]:
    """Count the values of columns that look like identifiers: an estimate cannot tell nearly from quite."""
    near = [c for c, p in columns.items() if p.distinct and p.distinct > max(_VALUES, _NEAR * rows)]
    exact = scan.row([f"count(DISTINCT {name(c)})" for c in near])
    return columns | {c: replace(columns[c], distinct=int(n)) for c, n in zip(near, exact, strict=True)}


def _is_numeric(spec: ModelSpec, column: str) -> bool:
    return column in spec.features.numeric or (column == spec.label.column and spec.numeric_answers)


def _sample(
    spec: ModelSpec, scan: Scan, columns: Mapping[str, ColumnProfile], rows: int
) -> Mapping[str, Any]:
    parts = [f"{scan.number(c)} AS {name(c)}" for c, column in columns.items() if column.numeric]
    parts += [f"hash({name(c)}) AS {name(c)}" for c in spec.features.categorical if c in columns]
    if not spec.numeric_answers and spec.label.column in columns:
        label = name(spec.label.column)
        parts.append(
            f"{label}::VARCHAR = '1' AS {label}" if spec.task == "binary" else f"hash({label}) AS {label}"
        )
    if not parts:
        return {}
    picked = f"SELECT {', '.join(parts)} FROM {scan.source}"
    if rows > _BLOCKS * _BLOCK_ROWS:
        step = (rows - _BLOCK_ROWS) // (_BLOCKS - 1)
        picked = " UNION ALL ".join(
            f"(SELECT {', '.join(parts)} FROM {scan.source} LIMIT {_BLOCK_ROWS} OFFSET {block * step})"
            for block in range(_BLOCKS)
        )
    arrays: Mapping[str, Any] = scan.connection.execute(picked).fetchnumpy()
    return arrays


def _centre(values: Any) -> float:
    """Return a number near the mean of a column whose spread is small beside it, else 0."""
    import numpy as np

    numbers = np.ma.filled(values.astype(float), np.nan)
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return 0.0
    with np.errstate(all="ignore"):
        centre, spread = float(np.median(finite)), float(np.std(finite))
    return centre if math.isfinite(spread) and abs(centre) > _FAR * spread else 0.0


def _bounds(
    spec: ModelSpec, scan: Scan, columns: dict[str, ColumnProfile]
) -> tuple[str, str, dict[str, ColumnProfile]]:
    """Take minima and maxima, and nothing else: those alone the engine knows from the file's statistics."""
    time = name(spec.time_column)
    parts = [f"min({time})", f"max({time})"] if spec.time_column in columns else ["NULL", "NULL"]
    numeric = [column for column, profile in columns.items() if profile.numeric]
    texts = [column for column in numeric if scan.is_text(column)]
    for column in numeric:
        parts += ["NULL", "NULL"] if column in texts else [f"min({name(column)})", f"max({name(column)})"]
    oldest, newest, *bounds = scan.row(parts)
    measured = dict(columns)
    for column, low, high in zip(numeric, bounds[::2], bounds[1::2], strict=True):
        low, high = (None if bound is None else float(bound) + 0.0 for bound in (low, high))  # no minus zero
        measured[column] = replace(columns[column], low=low, high=high)
    for column in texts:
        number = scan.number(column)
        parts = [f"count({name(column)}) - count({number})", f"min({number})", f"max({number})"]
        strange, low, high = scan.row(parts)
        measured[column] = replace(columns[column], not_numbers=int(strange), low=low, high=high)
    return _iso(oldest), _iso(newest), measured


def _moments(
    count: int, total: float | None, squares: float | None, centre: float
) -> tuple[float | None, float | None]:
    if not count or total is None or squares is None:
        return None, None
    if not (math.isfinite(total) and math.isfinite(squares)):
        return None, None
    mean = total / count
    return centre + mean, math.sqrt(max(squares / count - mean * mean, 0.0))


def _with_specials(scan: Scan, columns: dict[str, ColumnProfile]) -> dict[str, ColumnProfile]:
    """Measure again what not-a-number or infinity has spoilt: no sum of theirs is finite."""
    spoilt = [c for c, p in columns.items() if p.numeric and p.mean is None and p.low is not None]
    parts: list[str] = []
    for column in spoilt:
        number = scan.number(column)
        finite = f"FILTER (isfinite({number}))"
        parts += [f"count(*) FILTER (isnan({number}))", f"count(*) FILTER (isinf({number}))"]
        parts += [f"{f}({number}) {finite}" for f in ("min", "max", "avg", "stddev_pop")]
    found = iter(scan.row(parts))
    changed = dict(columns)
    for column in spoilt:
        nans, infinite, low, high, mean, sd = (next(found) for _ in range(6))
        before = columns[column]
        changed[column] = replace(
            before, nulls=before.nulls + nans, infinite=infinite, low=low, high=high, mean=mean, sd=sd
        )
    return changed


def _with_values(spec: ModelSpec, scan: Scan, columns: dict[str, ColumnProfile]) -> dict[str, ColumnProfile]:
    wanted = [c for c in spec.features.categorical if c in columns]
    if not spec.numeric_answers and spec.label.column in columns:
        wanted.append(spec.label.column)
    queries = [
        f"(SELECT {index} AS position, {name(c)}::VARCHAR AS value, count(*) AS n FROM {scan.source} "
        f"WHERE {name(c)} IS NOT NULL GROUP BY ALL ORDER BY n DESC, value LIMIT {_VALUES + 1})"
        for index, c in enumerate(wanted)
    ]
    values: list[dict[str, int]] = [{} for _ in wanted]
    for position, value, count in scan.rows(" UNION ALL ".join(queries)) if queries else ():
        values[position][value] = count
    many = [c for c, found in zip(wanted, values, strict=True) if len(found) > _VALUES]
    estimates = dict(zip(many, scan.row([f"approx_count_distinct({name(c)})" for c in many]), strict=True))
    changed = dict(columns)
    for column, found in zip(wanted, values, strict=True):
        ordered = dict(sorted(found.items(), key=lambda item: (-item[1], item[0]))[:_VALUES])
        distinct = max(estimates[column], _VALUES + 1) if column in estimates else len(ordered)
        changed[column] = replace(columns[column], values=ordered, distinct=distinct)
    return changed


def _iso(moment: object) -> str:
    """Return a moment as ISO 8601 in UTC; a type that is no time tells none."""
    if not isinstance(moment, datetime):
        return ""
    return (
        moment.replace(tzinfo=UTC).isoformat()
        if moment.tzinfo is None
        else moment.astimezone(UTC).isoformat()
    )
