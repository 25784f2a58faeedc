"""Validate one snapshot: measure it once, then check it against spec, schema and the last good one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from evermodel.data.validation.expected import declared_checks, schema_checks
from evermodel.data.validation.history import history_checks
from evermodel.data.validation.leakage_hints import suspicious_features
from evermodel.data.validation.measure import Outline, complete, outline
from evermodel.data.validation.profile import SnapshotProfile
from evermodel.data.validation.recency import recency_checks
from evermodel.data.validation.report import CheckResult, Severities, ValidationReport
from evermodel.data.validation.rows import RowRule, counts_of, judge_rows, row_rules
from evermodel.data.validation.scan import scan
from evermodel.data.validation.schema_file import TableSchema
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

_WORST = 3


@dataclass(frozen=True)
class Validation:
    """A report, the numbers behind it, and the rules that set rows aside."""

    report: ValidationReport
    profile: SnapshotProfile
    rules: tuple[RowRule, ...]


def validate(
    spec: ModelSpec,
    file: Path,
    schema: TableSchema | None = None,
    before: SnapshotProfile | None = None,
    window: Window | None = None,
) -> Validation:
    """Check a snapshot.

    Parameters
    ----------
    file
        The snapshot, with the columns of `ModelSpec.columns`.

    Raises
    ------
    SourceError
        The file is missing or is no whole Parquet file.
    """
    severities = Severities.of_spec(spec)
    with scan(file) as opened:
        seen = outline(spec, opened)
        profile, end = seen.profile, None if window is None else window.end
        rules: list[RowRule] = []
        found: list[CheckResult] = []
        recent: list[CheckResult] = []
        set_aside = 0
        if profile.rows:
            rules = row_rules(spec, opened, profile, schema, severities, end)
            profile, counts = complete(spec, opened, seen, counts_of(rules))
            found, set_aside = judge_rows(opened, rules, counts, spec.id_column)
            recent = [
                *recency_checks(spec, opened, rules, profile, schema, severities, window, _worst(found))
            ]
    if window is not None:
        profile = replace(profile, days=(window.end - window.start) / timedelta(days=1))
    whole = _whole_checks(spec, Outline(profile, seen.sample), schema, before, window, severities)
    checks = [check for check in [*whole, *found, *recent] if check.severity != "off"]
    if set_aside:
        limit, share = spec.validation.max_quarantine_share, set_aside / profile.rows
        said, allowed = f"{set_aside} of {profile.rows} rows ({share:.2%})", f"at most {limit:.2%}"
        title, kind, fine = "quarantined rows", "quarantine", share <= limit
        checks.append(
            CheckResult(title, fine, said, allowed, kind=kind, rows=set_aside, examples=_worst(found))
        )
    report = ValidationReport(spec.name, profile.rows, tuple(checks), set_aside)
    aside = {c.name for c in report.quarantines}
    return Validation(report, profile, tuple(rule for rule in rules if rule.name in aside))


def _worst(found: Iterable[CheckResult]) -> tuple[str, ...]:
    """Tell why most rows are quarantined."""
    worst = sorted((c for c in found if c.severity == "quarantine"), key=lambda c: -c.rows)[:_WORST]
    return tuple(f"{c.name}: {c.found}, {c.examples[0]}" for c in worst if c.examples)


def _whole_checks(
    spec: ModelSpec,
    seen: Outline,
    schema: TableSchema | None,
    before: SnapshotProfile | None,
    window: Window | None,
    severities: Severities,
) -> Iterator[CheckResult]:
    profile = seen.profile
    yield from declared_checks(spec, profile, schema, severities)
    if schema is not None:
        yield from schema_checks(spec, profile, schema, severities, window)
    if profile.rows == 0:
        return
    if before is not None:
        listed = {} if schema is None else schema.columns
        known = frozenset(c for c, column in listed.items() if column.categories is not None)
        yield from history_checks(spec, profile, before, severities, known=known)
    yield from suspicious_features(spec, profile, seen.sample, severities)
