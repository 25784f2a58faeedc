"""The report of a backtest: one self-contained HTML file."""

from __future__ import annotations

from evermodel.core.html import render
from evermodel.pipelines.backtest.chart import exchange_plot, metric_plot
from evermodel.pipelines.backtest.compare import PolicyComparison
from evermodel.pipelines.backtest.outcome import PolicyOutcome
from evermodel.pipelines.backtest.text import COST_HEAD, cost_rows, findings, notes, result_head, result_rows
from evermodel.reports.retrain.document import PageTable

_RETRAIN_HEAD = ("as of", "outcome", "gate", "candidate", "replaced", "reason")


def report_page(comparison: PolicyComparison) -> str:
    """Render a comparison; the page loads and runs nothing."""
    facts = comparison.facts
    return render(
        "reports/templates/backtest.html",
        title=f"Backtest of {facts['model']}, {facts['start']} to {facts['end']}",
        footer=f"evermodel · result {comparison.digest}",
        facts=facts,
        tone="ships" if comparison.best.verdict == "better" else "forced",
        findings=findings(comparison),
        cards=[
            (f"{s.policy}: mean week", f"{s.mean:.3f}", f"{s.low:.3f} to {s.high:.3f}; {s.verdict}")
            for s in comparison.standings
        ],
        results=PageTable(result_head(comparison), result_rows(comparison)),
        notes=notes(comparison),
        plots=[plot for plot in (metric_plot(comparison), exchange_plot(comparison)) if plot is not None],
        hurting=_hurting(comparison),
        cost=PageTable(COST_HEAD, cost_rows(comparison)),
        retrains={one.policy: _retrains(one) for one in comparison.outcomes if one.retrains},
        replayed=PageTable(("what", "which"), [item for item in facts.items() if item[1] is not None]),
    )


def _hurting(comparison: PolicyComparison) -> PageTable:
    rows = [
        (
            one.start,
            outcome.policy,
            one.champion,
            one.replaced,
            f"{one.rows:,}",
            f"{one.gain:+.3f} ({one.low:+.3f} to {one.high:+.3f})",
            "significant" if one.surely else "not significant",
        )
        for outcome in comparison.outcomes
        for one in outcome.hurt
    ]
    head = ("week of", "policy", "new champion of", "replaced version of", "rows", "gain", "significance")
    return PageTable(head, sorted(rows))


def _retrains(outcome: PolicyOutcome) -> PageTable:
    rows = [
        (
            one.as_of,
            "shipped" if one.shipped else "champion stays",
            one.verdict.replace("_", " "),
            one.candidate,
            one.replaced,
            one.reason,
        )
        for one in outcome.retrains
    ]
    return PageTable(_RETRAIN_HEAD, rows)
