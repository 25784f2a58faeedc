"""The drift report as a page of our own, for environments without Evidently: every test, and the shares behind it."""

from __future__ import annotations

from evermodel.core.extras import install_command
from evermodel.core.html import render
from evermodel.monitoring.drift import report_text
from evermodel.monitoring.drift.figures import performance_figure, tests_figure
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict
from evermodel.reports.retrain.document import PageSection, PageTable, Paragraph, Part

_TONES = {"none": "ships", "warning": "forced"}
_MARKS = {"none": "pass", "warning": "warn"}
_SHOWN = 20


def drift_page(verdict: DriftVerdict) -> str:
    """Render a verdict as a self-contained page without scripts.

    Parameters
    ----------
    verdict
        Its columns are worst first; the shares of the first 20 that drift are shown.
    """
    sections = [PageSection(f"Tests ({tests_figure(verdict)} show drift)", _tests(verdict))]
    sections += [
        PageSection(f"{drift.column}: {drift.what}", [Paragraph(drift.summary), _shares(drift)])
        for drift in verdict.drifting[:_SHOWN]
        if drift.bins
    ]
    others = [problem for problem in verdict.problems if problem.kind != "drift"]
    checks: list[tuple[str, str, str]] = [
        (_MARKS.get(problem.severity, "fail"), problem.kind, problem.reason)
        for problem in others
        if problem.known
    ]
    if verdict.promotion is not None:
        checks.append(("fail" if verdict.promotion.hurt else "pass", "promotion", str(verdict.promotion)))
    sections.append(PageSection("Other checks", [PageTable(("result", "check", "why"), checks)]))
    return render(
        "reports/templates/drift.html",
        kicker="Drift of a window",
        title=report_text.title(verdict),
        footer=f"evermodel · {verdict.model} version {verdict.version} · plots: {install_command(['evidently'])}",
        tone=_TONES.get(verdict.severity, "stays"),
        severity="no drift" if verdict.severity == "none" else verdict.severity,
        sentences=[
            verdict.reason,
            f"Performance: {performance_figure(verdict.performance)}.",
            _basis(verdict),
        ],
        sections=sections,
    )


def _basis(verdict: DriftVerdict) -> str:
    return (
        f"All {verdict.window_rows:,} rows of the window are compared with {verdict.reference_rows:,} rows: "
        f"{verdict.reference}. Over all tests of a day together, the chance of a false alarm is at most "
        f"{verdict.false_alarm_rate:.2%}."
    )


def _tests(verdict: DriftVerdict) -> list[Part]:
    rows = [(_MARKS.get(drift.severity, "fail"), *report_text.words(drift)) for drift in verdict.columns]
    return [PageTable(("result", *report_text.HEADER), rows)]


def _shares(drift: ColumnDrift) -> Part:
    rows = [(part.label, f"{part.reference:.1%}", f"{part.window:.1%}") for part in drift.bins]
    return PageTable(("values", "reference", "window"), rows)
