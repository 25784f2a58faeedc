"""Checks of a whole snapshot against what the spec declares, and against the schema file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from evermodel.data.validation.profile import SnapshotProfile, variants_of
from evermodel.data.validation.report import CheckResult, Severities
from evermodel.data.validation.schema_file import Bounds, ColumnSchema, TableSchema
from evermodel.spec import ModelSpec
from evermodel.spec.parts import format_span
from evermodel.spec.window import Window


def declared_checks(
    spec: ModelSpec, profile: SnapshotProfile, schema: TableSchema | None, severities: Severities
) -> Iterator[CheckResult]:
    """Check columns, rows, ids, label, and shares of nulls.

    Parameters
    ----------
    schema
        Its limits of nulls hold for columns for which the spec names none.
    """
    missing = [column for column in dict.fromkeys(spec.columns) if column not in profile.columns]
    if missing:
        found = f"no {', '.join(missing)}"
        yield severities.check("missing_column", "columns", False, found, "every column of the spec")
    rules, rows = spec.validation, profile.rows
    enough = rows >= rules.min_rows
    yield severities.check("rows", "row count", enough, str(rows), f"at least {rules.min_rows}")
    if rows == 0:
        return
    identity = spec.id_column
    if identity in profile.columns and severities.of("duplicate_id", identity) != "quarantine":
        share, limit = 1 - profile.ids / rows, rules.max_duplicate_share
        yield _share(severities, "duplicate_id", f"duplicate {identity}", share, limit, identity)
    if spec.label.column in profile.columns:
        yield _label_check(spec, profile, severities)
    inferred = {} if schema is None else schema.snapshot.null_share
    for column in spec.features.names:
        if column in profile.columns:
            # The schema's limit is the tighter one where it was inferred under the spec's general one.
            general = min(rules.max_null_share, inferred.get(column, 1.0))
            limit = rules.max_null_share_by_column.get(column, general)
            share = profile.columns[column].nulls / rows
            yield _share(severities, "null_share", f"nulls in {column}", share, limit, column)


def _label_check(spec: ModelSpec, profile: SnapshotProfile, severities: Severities) -> CheckResult:
    column, rows, least = spec.label.column, profile.rows, spec.validation.min_class_share
    label = profile.columns[column]
    if spec.numeric_answers:
        several = label.low is not None and label.low != label.high
        found = "several values" if several else "a single value"
        return severities.check("label", f"values of {column}", several, found, "more than one", column)
    classes = label.distinct or 0
    rarest = min(label.values.values(), default=0) if label.listed else 1
    fine = classes > 1 and rarest / rows >= least
    if spec.task == "binary":
        positives = label.values.get("1", 0)
        found = f"{positives} positive and {rows - positives} negative rows"
        title, allowed = f"both classes of {column}", f"at least {least:.1%} of each"
    else:
        found = f"{classes} classes, the rarest with {rarest} of {rows} rows"
        title, allowed = f"classes of {column}", f"at least 2, each with {least:.1%} of the rows"
    return severities.check("label", title, fine, found, allowed, column)


def _share(
    severities: Severities, kind: str, title: str, share: float, limit: float, column: str
) -> CheckResult:
    return severities.check(kind, title, share <= limit, f"{share:.2%}", f"at most {limit:.2%}", column)


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
        found = f"no entry for {', '.join(strangers)}"
        yield severities.check("schema", "columns of the schema", False, found, "one for each column")
    for column, profiled in profile.columns.items():
        declared = schema.columns.get(column)
        if declared is not None:
            fits = _fits(declared, profiled.type, exact=column not in spec.features.numeric)
            yield severities.check("type", f"type of {column}", fits, profiled.type, declared.dtype, column)
            if not declared.nullable:
                title, nulls = f"missing values of {column}", profiled.nulls
                yield severities.check(
                    "null_share", title, nulls == 0, f"{nulls} rows", "none", column, nulls
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
        if severities.of("category", column) != "quarantine":
            title, told = f"new categories of {column}", f"{len(new)} in {rows} rows"
            yield severities.check("category", title, not rows, told, "none", column, rows, examples)
        limit, share = spec.validation.max_unknown_share, rows / profile.rows
        title, told = f"rows of unknown categories in {column}", f"{share:.2%}"
        allowed = f"at most {limit:.2%}"
        yield severities.check("category_share", title, share <= limit, told, allowed, column, rows, examples)


def _snapshot(
    profile: SnapshotProfile, schema: TableSchema, severities: Severities, window: Window | None
) -> Iterator[CheckResult]:
    rows, age = schema.snapshot.rows, schema.snapshot.max_age
    if rows != (None, None):
        length = schema.snapshot.window
        if length is not None and window is not None:
            scale = (window.end - window.start) / length
            fewest, most = (None if bound is None else bound * scale for bound in rows)
            rows = fewest, most
        yield _between(severities, "rows", "row count of the schema", profile.rows, rows)
    if age is not None and window is not None and profile.newest:
        newest = datetime.fromisoformat(profile.newest)
        found = f"newest row at {newest:%Y-%m-%d %H:%M}, the window ends at {window.end:%Y-%m-%d %H:%M}"
        allowed = f"at most {format_span(age)} before it"
        fresh = window.end - newest <= age
        yield severities.check("freshness", "freshness", fresh, found, allowed)


def _label(
    spec: ModelSpec, profile: SnapshotProfile, schema: TableSchema, severities: Severities
) -> Iterator[CheckResult]:
    label, name = profile.columns.get(spec.label.column), spec.label.column
    if label is None:
        return
    for value, (low, high) in schema.snapshot.class_share.items():
        share = label.values.get(value, 0) / profile.rows
        title, fine = f"share of {name} = {value}", low <= share <= high
        yield severities.check("label", title, fine, f"{share:.2%}", f"{low:.2%} to {high:.2%}", name)
    if schema.snapshot.label_mean != (None, None) and label.mean is not None:
        yield _between(severities, "label", f"mean of {name}", label.mean, schema.snapshot.label_mean)


def _between(severities: Severities, kind: str, title: str, value: float, bounds: Bounds) -> CheckResult:
    low, high = bounds
    fine = (low is None or value >= low) and (high is None or value <= high)
    ends = (("at least", low), ("at most", high))
    sides = [f"{side} {end:g}" for side, end in ends if end is not None]
    return severities.check(kind, title, fine, f"{value:g}", ", ".join(sides))
