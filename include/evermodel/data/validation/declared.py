"""Checks of a whole snapshot against what the spec declares."""

from __future__ import annotations

from collections.abc import Iterator

from evermodel.data.validation.profile import SnapshotProfile
from evermodel.data.validation.report import CheckResult
from evermodel.data.validation.schema import TableSchema
from evermodel.data.validation.severities import Severities
from evermodel.spec import ModelSpec


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
        yield CheckResult(
            "columns",
            False,
            f"no {', '.join(missing)}",
            "every column of the spec",
            severities.of("missing_column"),
            "missing_column",
        )
    rules, rows = spec.validation, profile.rows
    yield CheckResult(
        "row count",
        rows >= rules.min_rows,
        str(rows),
        f"at least {rules.min_rows}",
        severities.of("rows"),
        "rows",
    )
    if rows == 0:
        return
    if spec.id_column in profile.columns and severities.of("duplicate_id", spec.id_column) != "quarantine":
        share = 1 - profile.ids / rows
        severity = severities.of("duplicate_id", spec.id_column)
        yield _share(
            f"duplicate {spec.id_column}",
            share,
            rules.max_duplicate_share,
            severity,
            "duplicate_id",
            spec.id_column,
        )
    if spec.label.column in profile.columns:
        yield _label_check(spec, profile, severities.of("label"))
    inferred = {} if schema is None else schema.snapshot.null_share
    for column in spec.features.names:
        if column in profile.columns:
            # The schema's limit is the tighter one where it was inferred under the spec's general one.
            general = min(rules.max_null_share, inferred.get(column, 1.0))
            limit = rules.max_null_share_by_column.get(column, general)
            share = profile.columns[column].nulls / rows
            severity = severities.of("null_share", column)
            yield _share(f"nulls in {column}", share, limit, severity, "null_share", column)


def _label_check(spec: ModelSpec, profile: SnapshotProfile, severity: str) -> CheckResult:
    column, rows, least = spec.label.column, profile.rows, spec.validation.min_class_share
    label = profile.columns[column]
    if spec.task == "regression":
        several = label.low is not None and label.low != label.high
        found = "several values" if several else "a single value"
        return CheckResult(f"values of {column}", several, found, "more than one", severity, "label", column)
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
    return CheckResult(title, fine, found, allowed, severity, "label", column)


def _share(title: str, share: float, limit: float, severity: str, kind: str, column: str) -> CheckResult:
    return CheckResult(title, share <= limit, f"{share:.2%}", f"at most {limit:.2%}", severity, kind, column)
