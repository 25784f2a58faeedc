"""The decision page: one self-contained HTML file with the decision and its evidence."""

from __future__ import annotations

from collections.abc import Mapping

from evermodel.core.html import render
from evermodel.reports.retrain.comparison import gain_plot, importance_plot, slice_plot
from evermodel.reports.retrain.document import PageTable
from evermodel.reports.retrain.numbers import DecisionFigures
from evermodel.reports.retrain.scored_sample import ScoredSample
from evermodel.reports.retrain.task_plots import binary_plots, multiclass_plots, regression_plots
from evermodel.reports.retrain.text import gate_table, headline, metric_rows, number, slice_gates_of, why

_PLOTS = {"binary": binary_plots, "multiclass": multiclass_plots, "regression": regression_plots}


def decision_page(
    trial: ScoredSample, numbers: DecisionFigures, facts: Mapping[str, object], links: Mapping[str, str]
) -> str:
    """Render the page of a decision, self-contained and without scripts.

    Parameters
    ----------
    facts
        Origin of data and code, as label and value.
    """
    decision = trial.decision
    plots = [plot for plot in (gain_plot(trial),) if plot is not None]
    plots += _PLOTS[trial.spec.task](trial) if trial.spec.task in _PLOTS else []
    slices = slice_gates_of(decision)
    # Slices have their own section; only those that decided are listed here.
    main = tuple(gate for gate in decision.gates if gate not in slices or gate.verdict == "fail")
    tone, ending = headline(decision)
    return render(
        "reports/templates/decision.html",
        title=f"{decision.model}: {ending.lower()}",
        footer=f"evermodel · run {decision.run_key} · decision {decision.digest}",
        decision=decision,
        tone=tone,
        ending=ending,
        why=why(decision),
        cards=_cards(trial),
        gates=gate_table(main),
        metrics=_metrics(trial, numbers),
        plots=plots,
        slices=gate_table(slices) if slices else None,
        slice_plot=slice_plot(trial, slices) if slices else None,
        importance=importance_plot(trial, numbers.importance),
        facts=PageTable(("what", "which"), list(facts.items())),
        links=links,
    )


def _cards(trial: ScoredSample) -> list[tuple[str, str, str]]:
    decision = trial.decision
    against = f"version {decision.parent}" if decision.parent else "no champion yet"
    return [
        _card(f"challenger: {decision.candidate}", decision.challenger, decision.metric),
        _card(f"champion: {against}", decision.champion, decision.metric),
        _card("gain, positive is better", decision.gain, f"{trial.spec.gate.confidence:.0%} interval", "+"),
        ("test rows", f"{decision.rows:,}", "shared by both"),
    ]


def _card(
    label: str, triple: tuple[float, float, float] | None, below: str, sign: str = ""
) -> tuple[str, str, str]:
    if triple is None:
        return label, "-", "no comparison"
    value, low, high = triple
    return label, number(value, sign), f"{below}, {number(low, sign)} to {number(high, sign)}"


def _metrics(trial: ScoredSample, numbers: DecisionFigures) -> PageTable:
    own, theirs = numbers.metrics["challenger"], numbers.metrics.get("champion", {})
    rows = metric_rows(trial.decision.metric, own, theirs, numbers.calibration_error)
    return PageTable(("metric", "challenger", "champion"), rows)
