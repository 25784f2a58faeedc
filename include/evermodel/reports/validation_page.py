"""The validation report as a page: problems first, then every column beside the last good snapshot."""

from __future__ import annotations

from collections import Counter

from evermodel.core.html import render
from evermodel.data.validation.profile import ColumnProfile, SnapshotProfile
from evermodel.data.validation.report import CheckResult, ValidationReport
from evermodel.reports.retrain.document import PageSection, PageTable, Paragraph, Part
from evermodel.spec import ModelSpec

_ENDINGS = {
    "passed": ("ships", "The data is as expected; training continues."),
    "warned": ("forced", "Training continues; check the warnings."),
    "quarantined": ("forced", "Bad rows are quarantined; training continues without them."),
    "failed": ("stays", "The run stops before training; the champion is unchanged."),
}
_MARKS = {"warn": "warn", "quarantine": "warn", "fail": "fail"}
_TITLES = {
    "fail": "Fatal checks",
    "quarantine": "Quarantined rows",
    "warn": "Warnings",
}
_COLUMNS = 300


def validation_page(
    spec: ModelSpec,
    report: ValidationReport,
    profile: SnapshotProfile,
    before: SnapshotProfile | None,
    run_key: str,
) -> str:
    """Render a report as a self-contained page without scripts; `before` is the last good snapshot."""
    groups = {
        "fail": report.failures,
        "quarantine": report.quarantines,
        "warn": report.warnings,
    }
    sections = [
        PageSection(_TITLES[severity], [_checks(checks)]) for severity, checks in groups.items() if checks
    ]
    sections.append(PageSection("Columns", _columns(profile, before)))
    sections.append(PageSection("Checks that passed, by kind", [_passed(report)]))
    sections.append(PageSection("Compared with", [_facts(report, profile)]))
    tone, ending = _ENDINGS[report.verdict]
    broken = [check for checks in groups.values() for check in checks]
    return render(
        "reports/templates/validation.html",
        title=f"{spec.name}: validation {report.verdict}",
        footer=f"evermodel · run {run_key}",
        model=spec.name,
        report=report,
        tone=tone,
        ending=ending,
        problems=[check.line() for check in broken[:3]],
        cards=_cards(report, profile),
        sections=sections,
    )


def _cards(report: ValidationReport, profile: SnapshotProfile) -> list[tuple[str, str, str]]:
    share = report.set_aside / max(report.rows, 1)
    return [
        ("rows", f"{report.rows:,}", _span(profile)),
        ("quarantined rows", f"{report.set_aside:,}", f"{share:.2%} of the rows"),
        ("checks", f"{sum(c.passed for c in report.checks)} of {len(report.checks)}", "passed"),
        ("warnings", str(len(report.warnings)), f"{len(report.failures)} fatal"),
    ]


def _span(profile: SnapshotProfile) -> str:
    return f"{profile.oldest[:10]} to {profile.newest[:10]}" if profile.oldest else "none"


def _checks(checks: tuple[CheckResult, ...]) -> Part:
    rows = [
        (_MARKS[c.severity], c.name, c.found, c.allowed, "; ".join(c.examples) or "-", _key(c))
        for c in checks
    ]
    return PageTable(("result", "check", "found", "allowed", "examples", "severity key"), rows)


def _key(check: CheckResult) -> str:
    if check.kind in ("quarantine", "recent_quarantine"):
        return f"max_{check.kind}_share"
    return f"{check.kind}.{check.column}" if check.column else check.kind


def _passed(report: ValidationReport) -> Part:
    counts = Counter(check.kind.replace("_", " ") for check in report.checks if check.passed)
    return Paragraph(", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())) or "None.")


def _columns(profile: SnapshotProfile, before: SnapshotProfile | None) -> list[Part]:
    rows = [
        _column(name, column, profile, before) for name, column in list(profile.columns.items())[:_COLUMNS]
    ]
    head = (
        "column",
        "type",
        "missing",
        "missing before",
        "lowest",
        "mean",
        "mean before",
        "highest",
        "values",
    )
    parts: list[Part] = [PageTable(head, rows)]
    if len(profile.columns) > _COLUMNS:
        parts.append(Paragraph(f"and {len(profile.columns) - _COLUMNS} more"))
    return parts


def _column(
    name: str, column: ColumnProfile, profile: SnapshotProfile, before: SnapshotProfile | None
) -> tuple[object, ...]:
    then = None if before is None else before.columns.get(name)
    earlier = "-" if then is None or before is None else _percent(then.nulls, before.rows)
    mean_before = None if then is None else then.mean
    numbers = [_number(v) for v in (column.low, column.mean, mean_before, column.high)]
    return (
        name,
        column.type,
        _percent(column.nulls, profile.rows),
        earlier,
        *numbers,
        _values(column, profile),
    )


def _values(column: ColumnProfile, profile: SnapshotProfile) -> str:
    if not column.values:
        return "-"
    common = [f"{value} {_percent(n, profile.rows)}" for value, n in list(column.values.items())[:3]]
    return ", ".join(common) + (f" … {column.distinct} in all" if (column.distinct or 0) > 3 else "")


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _facts(report: ValidationReport, profile: SnapshotProfile) -> Part:
    return PageTable(
        ("what", "which"),
        [
            ("schema", report.schema or "none"),
            ("last good snapshot", report.against or "none yet"),
            ("first row", profile.oldest or "-"),
            ("last row", profile.newest or "-"),
        ],
    )
