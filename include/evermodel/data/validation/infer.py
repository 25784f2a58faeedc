"""Infer a schema from a snapshot, with tolerances that let normal next weeks pass."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from evermodel.data.validation.profile import ColumnProfile, SnapshotProfile, split_variants
from evermodel.data.validation.schema_file import (
    Bounds,
    ColumnSchema,
    SnapshotSchema,
    TableSchema,
    round_out,
)
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

_MOST_CATEGORIES = 200
_DTYPES = {"DOUBLE": "float64", "FLOAT": "float32", "TINYINT": "int8", "VARCHAR": "str"}


def infer_schema(spec: ModelSpec, profile: SnapshotProfile, window: Window | None = None) -> TableSchema:
    """Infer the schema of a model's snapshots from one that is good.

    Slack: a range is widened on both sides by its own width (four widths where a tail is long), except below a lowest value of
    exactly zero; a share of nulls may double or grow by five points; rows may halve; a class may become three times
    as rare; the newest row may be three times as old, and a day old at least.
    """
    columns = {name: _column(spec, name, column, profile.rows) for name, column in profile.columns.items()}
    nulls = {
        name: _null_share(column.nulls / profile.rows, profile.rows)
        for name, column in profile.columns.items()
        if name in spec.features.names
    }
    return TableSchema(
        columns=columns,
        snapshot=SnapshotSchema(
            rows=_rows(profile, window),
            window=None if window is None else window.end - window.start,
            max_age=_max_age(profile, window),
            null_share=nulls,
            class_share=_class_share(spec, profile),
            label_mean=_label_mean(spec, profile),
        ),
    )


def _column(spec: ModelSpec, name: str, column: ColumnProfile, rows: int) -> ColumnSchema:
    if name == spec.time_column:
        return ColumnSchema(dtype="datetime64[us, UTC]", nullable=False)
    if name == spec.id_column:
        whole = column.type.endswith("INT") or column.type == "INTEGER"
        return ColumnSchema(
            dtype="int64" if whole else "str",
            nullable=False,
            unique=spec.validation.max_duplicate_share == 0,
            coerce=column.type not in ("BIGINT", "VARCHAR"),
        )
    if name == spec.label.column:
        dtype = {"binary": "int8", "multiclass": "str", "regression": "float64", "ranking": "float64"}[
            spec.task
        ]
        return ColumnSchema(dtype=dtype, nullable=False, coerce=_DTYPES.get(column.type) != dtype)
    if column.numeric:
        bounds = _bounds(column, rows)
        return ColumnSchema(dtype="float64", coerce=column.type != "DOUBLE", bounds=bounds)
    return ColumnSchema(dtype="str", coerce=column.type != "VARCHAR", categories=_categories(column))


def _categories(column: ColumnProfile) -> tuple[str, ...] | None:
    known, _ = split_variants(column.values)
    if not column.listed or not known or len(known) > _MOST_CATEGORIES:
        return None
    return tuple(sorted(known))


def _bounds(column: ColumnProfile, rows: int) -> Bounds:
    low, high, mean, sd = column.low, column.high, column.mean, column.sd
    if low is None or high is None or mean is None or sd is None:
        return (None, None)
    width = high - low
    if width == 0 or not math.isfinite(width):
        return (None, None)
    # How far the furthest of so many normal numbers lies; beyond it the tail is a long one.
    usual = 1.25 * math.sqrt(2 * math.log(max(rows, 2))) * sd
    below, above = ((4 if gap > usual else 1) * width for gap in (mean - low, high - mean))
    return (0.0 if low == 0 else round_out(low - below, False, width), round_out(high + above, True, width))


def _null_share(share: float, rows: int) -> float:
    noise = 3 * math.sqrt(share * (1 - share) / rows)
    return min(1.0, math.ceil(100 * max(2 * share, share + 0.05 + noise)) / 100)


def _rows(profile: SnapshotProfile, window: Window | None) -> Bounds:
    # A window that the data only begins to fill holds more rows next time.
    most = None
    if window is not None and profile.oldest:
        covered = datetime.fromisoformat(profile.newest) - datetime.fromisoformat(profile.oldest)
        expected = 4 * profile.rows / max(covered / (window.end - window.start), 0.05)
        most = round_out(expected, True, expected)
    return (float(profile.rows // 2), most)


def _max_age(profile: SnapshotProfile, window: Window | None) -> timedelta | None:
    if window is None or not profile.newest:
        return None
    age = window.end - datetime.fromisoformat(profile.newest)
    hours = -(-max(3 * age, timedelta(days=1)) // timedelta(hours=1))  # rounded up
    return timedelta(hours=hours)


def _class_share(spec: ModelSpec, profile: SnapshotProfile) -> dict[str, tuple[float, float]]:
    label = profile.columns[spec.label.column]
    if spec.numeric_answers or len(label.values) > _MOST_CATEGORIES:
        return {}
    shares = {value: rows / profile.rows for value, rows in label.values.items()}
    return {
        value: (round(share / 3, 4), round(1 - (1 - share) / 3, 4)) for value, share in sorted(shares.items())
    }


def _label_mean(spec: ModelSpec, profile: SnapshotProfile) -> Bounds:
    label = profile.columns[spec.label.column]
    if not spec.numeric_answers or label.mean is None or not label.sd:
        return (None, None)
    low, high = label.mean - label.sd, label.mean + label.sd
    return (round_out(low, False, label.sd), round_out(high, True, label.sd))
