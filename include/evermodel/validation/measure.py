"""Measure a snapshot: each column is read once, in the engine, whatever is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from evermodel.spec import ModelSpec
from evermodel.validation.profile import ColumnProfile, Profile
from evermodel.validation.scan import Scan, name

_VALUES = 1000
_BLOCKS, _BLOCK_ROWS = 4, 2500
LABEL = "label"


@dataclass(frozen=True)
class Measured:
    """A snapshot in numbers, and a few blocks of its rows.

    Parameters
    ----------
    sample
        Arrays by column: numbers as they are, categories as hashes; evenly spread blocks of the rows.
    """

    profile: Profile
    sample: Mapping[str, Any]


def measure(spec: ModelSpec, scan: Scan) -> Measured:
    """Measure every column of a snapshot that is there.

    Parameters
    ----------
    scan
        The open snapshot.
    """
    rows = int(scan.row(["count(*)"])[0])
    present = [column for column in dict.fromkeys(spec.columns) if column in scan.types]
    columns = {c: ColumnProfile(scan.types[c], _is_numeric(spec, c)) for c in present}
    if rows == 0:
        return Measured(Profile(0, 0, "", "", columns), {})
    sample = _sample(spec, scan, columns, rows)
    ids, oldest, newest, columns = _aggregate(spec, scan, columns, sample)
    columns = _with_specials(scan, columns)
    columns = _with_values(spec, scan, columns)
    return Measured(Profile(rows, ids, oldest, newest, columns), sample)


def _is_numeric(spec: ModelSpec, column: str) -> bool:
    return column in spec.features.numeric or (column == spec.label.column and spec.task == "regression")


def _sample(
    spec: ModelSpec, scan: Scan, columns: Mapping[str, ColumnProfile], rows: int
) -> Mapping[str, Any]:
    parts = [f"{scan.number(c)} AS {name(c)}" for c, column in columns.items() if column.numeric]
    parts += [f"hash({name(c)}) AS {name(c)}" for c in spec.features.categorical if c in columns]
    if spec.task != "regression" and spec.label.column in columns:
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


def _centre(sample: Mapping[str, Any], column: str) -> float:
    """Return a number near the column's mean, so that sums of squares keep their digits."""
    import numpy as np

    values = np.ma.filled(sample[column].astype(float), np.nan)
    finite = values[np.isfinite(values)]
    centre = float(np.median(finite)) if len(finite) else 0.0
    return centre if math.isfinite(centre) else 0.0


def _aggregate(
    spec: ModelSpec, scan: Scan, columns: dict[str, ColumnProfile], sample: Mapping[str, Any]
) -> tuple[int, str, str, dict[str, ColumnProfile]]:
    time = name(spec.time_column)
    times = spec.time_column in columns
    parts = [
        f"count(DISTINCT {name(spec.id_column)})" if spec.id_column in columns else "0",
        f"min({time})::VARCHAR" if times else "''",
        f"max({time})::VARCHAR" if times else "''",
        "count(*)",
    ]
    centres: dict[str, float] = {}
    for column, profile in columns.items():
        parts.append(f"count({name(column)})")
        if profile.numeric:
            number, centre = scan.number(column), _centre(sample, column)
            centres[column] = centre
            shifted = f"({number} - {centre!r})"
            parts += [f"count({number})", f"min({number})", f"max({number})"]
            parts += [f"sum({shifted})", f"sum({shifted} * {shifted})"]
            parts.append(f"approx_count_distinct({name(column)})" if scan.is_whole(column) else "NULL")
    found = iter(scan.row(parts))
    ids, oldest, newest, rows = (next(found) for _ in range(4))
    measured: dict[str, ColumnProfile] = {}
    for column, profile in columns.items():
        known = next(found)
        measured[column] = replace(profile, nulls=rows - known)
        if profile.numeric:
            numbers, low, high, total, squares, distinct = (next(found) for _ in range(6))
            mean, sd = _moments(numbers, total, squares, centres[column])
            measured[column] = replace(
                measured[column],
                not_numbers=known - numbers,
                low=low,
                high=high,
                mean=mean,
                sd=sd,
                distinct=distinct,
            )
    return int(ids), _iso(oldest), _iso(newest), measured


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
    """Measure again what not-a-number or infinity has spoilt; the engine sorts both to the ends, so they are seen."""
    spoilt = [
        column
        for column, p in columns.items()
        if p.numeric and p.low is not None and p.high is not None and not math.isfinite(p.low + p.high)
    ]
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
    if spec.task != "regression" and spec.label.column in columns:
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


def _iso(moment: str | None) -> str:
    return datetime.fromisoformat(moment).isoformat() if moment else ""
