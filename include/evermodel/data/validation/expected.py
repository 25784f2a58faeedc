"""Checks of a whole snapshot against its schema file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from evermodel.data.validation.profile import SnapshotProfile
from evermodel.data.validation.report import CheckResult
from evermodel.data.validation.schema import Bounds, ColumnSchema, TableSchema
from evermodel.data.validation.severities import Severities
from evermodel.data.validation.variants import variants_of
from evermodel.spec import ModelSpec
from evermodel.spec.parts import format_span
from evermodel.spec.window import Window

_EXAMPLES = 5


def schema_checks(
    spec: ModelSpec,
    profile: SnapshotProfile,
    schema: TableSchema,
    severities: Severities,
    window: Window | None,
) -> Iterator[CheckResult]:
    """Check types, categories, rows, freshness and the balance of the label.

    Parameters
    ----------
    window
        The interval that the snapshot was taken for; without it nothing is said about freshness.
    """
    yield from _types(spec, profile, schema, severities)
    if profile.rows == 0:
        return
    yield from _categories(spec, profile, schema, severities)
    yield from _snapshot(profile, schema, severities, window)
    yield from _label(spec, profile, schema, severities)


def _types(
    spec: ModelSpec, profile: SnapshotProfile, schema: TableSchema, severities: Severities
) -> Iterator[CheckResult]:
    strangers = [c for c in profile.columns if c not in schema.columns]
    if strangers:
        yield CheckResult(
            "columns of the schema",
            False,
            f"no entry for {', '.join(strangers)}",
            "one for each column",
            severities.of("schema"),
            "schema",
        )
    for column, found in profile.columns.items():
        declared = schema.columns.get(column)
        if declared is not None:
            fits = _fits(declared, found.type, exact=column not in spec.features.numeric)
            allowed = declared.dtype
            yield CheckResult(
                f"type of {column}", fits, found.type, allowed, severities.of("type", column), "type", column
            )

            if not declared.nullable:
                yield CheckResult(
                    f"missing values of {column}",
                    found.nulls == 0,
                    f"{found.nulls} rows",
                    "none",
                    severities.of("null_share", column),
                    "null_share",
                    column,
                    found.nulls,
                )


def _fits(declared: ColumnSchema, found: str, *, exact: bool) -> bool:
    if declared.dtype.startswith("datetime"):
        return found.startswith(("TIMESTAMP", "DATE"))
    if declared.numeric:
        return found != "VARCHAR" and not found.startswith(("TIMESTAMP", "DATE", "BLOB"))
    return declared.coerce or not exact or found in ("VARCHAR", "ENUM")


def _categories(
    spec: ModelSpec, profile: SnapshotProfile, schema: TableSchema, severities: Severities
) -> Iterator[CheckResult]:
    for column in spec.features.categorical:
        declared, found = schema.columns.get(column), profile.columns.get(column)
        if declared is None or found is None or declared.categories is None:
            continue
        strange = {v: n for v, n in found.values.items() if v not in set(declared.categories)}
        rewritten = variants_of(strange, declared.categories)
        new = {v: n for v, n in strange.items() if v not in rewritten}
        rows = profile.rows - found.nulls - sum(found.values.values()) + sum(new.values())
        examples = tuple(f"{v!r} in {n} rows" for v, n in list(new.items())[:_EXAMPLES])
        if (severity := severities.of("category", column)) != "quarantine":
            yield CheckResult(
                f"new categories of {column}",
                not rows,
                f"{len(new)} in {rows} rows",
                "none",
                severity,
                "category",
                column,
                rows,
                examples,
            )
        limit, share = spec.validation.max_unknown_share, rows / profile.rows
        yield CheckResult(
            f"rows of unknown categories in {column}",
            share <= limit,
            f"{share:.2%}",
            f"at most {limit:.2%}",
            severities.of("category_share", column),
            "category_share",
            column,
            rows,
            examples,
        )


def _snapshot(
    profile: SnapshotProfile, schema: TableSchema, severities: Severities, window: Window | None
) -> Iterator[CheckResult]:
    rows, age = schema.snapshot.rows, schema.snapshot.max_age
    if rows != (None, None):
        length = schema.snapshot.window
        if length is not None and window is not None:
            scale = (window.end - window.start) / length
            rows = (
                None if rows[0] is None else rows[0] * scale,
                None if rows[1] is None else rows[1] * scale,
            )
        yield _between("row count of the schema", profile.rows, rows, severities.of("rows"), "rows")
    if age is not None and window is not None and profile.newest:
        newest = datetime.fromisoformat(profile.newest)
        found = f"newest row at {newest:%Y-%m-%d %H:%M}, the window ends at {window.end:%Y-%m-%d %H:%M}"
        allowed = f"at most {format_span(age)} before it"
        fresh = window.end - newest <= age
        yield CheckResult("freshness", fresh, found, allowed, severities.of("freshness"), "freshness")


def _label(
    spec: ModelSpec, profile: SnapshotProfile, schema: TableSchema, severities: Severities
) -> Iterator[CheckResult]:
    label, severity = profile.columns.get(spec.label.column), severities.of("label")
    if label is None:
        return
    for value, (low, high) in schema.snapshot.class_share.items():
        share = label.values.get(value, 0) / profile.rows
        yield CheckResult(
            f"share of {spec.label.column} = {value}",
            low <= share <= high,
            f"{share:.2%}",
            f"{low:.2%} to {high:.2%}",
            severity,
            "label",
            spec.label.column,
        )
    if schema.snapshot.label_mean != (None, None) and label.mean is not None:
        yield _between(
            f"mean of {spec.label.column}", label.mean, schema.snapshot.label_mean, severity, "label"
        )


def _between(title: str, value: float, bounds: Bounds, severity: str, kind: str) -> CheckResult:
    low, high = bounds
    fine = (low is None or value >= low) and (high is None or value <= high)
    ends = (("at least", low), ("at most", high))
    sides = [f"{side} {end:g}" for side, end in ends if end is not None]
    return CheckResult(title, fine, f"{value:g}", ", ".join(sides), severity, kind)
