"""The decision page: one self-contained HTML file that says what was decided, and shows why."""

from __future__ import annotations

from collections.abc import Mapping

from evermodel.evaluation.decision import Gate
from evermodel.reports.retrain.classification import binary_plots, multiclass_plots
from evermodel.reports.retrain.comparison import gain_plot, importance_plot, slice_plot
from evermodel.reports.retrain.document import Links, PageSection, PageTable, Part, escaped, to_html
from evermodel.reports.retrain.html_page import html_page
from evermodel.reports.retrain.numbers import DecisionFigures
from evermodel.reports.retrain.plot_style import Plot
from evermodel.reports.retrain.regression import regression_plots
from evermodel.reports.retrain.scored_sample import ScoredSample
from evermodel.reports.retrain.text import gate_table, headline, interval, number, slice_gates_of, why

_PLOTS = {"binary": binary_plots, "multiclass": multiclass_plots, "regression": regression_plots}


def decision_page(
    trial: ScoredSample, numbers: DecisionFigures, facts: Mapping[str, object], links: Mapping[str, str]
) -> str:
    """Draw everything about a decision.

    Parameters
    ----------
    trial
        The decision and what it was made from.
    numbers
        Metrics of both sides and the importance of the features.
    facts
        Where the data and the code came from, as label and value.
    links
        Label and address.

    Returns
    -------
    The page; it loads nothing and runs nothing.
    """
    decision = trial.decision
    plots = [plot for plot in (gain_plot(trial),) if plot is not None]
    plots += _PLOTS[trial.spec.task](trial)
    slices = slice_gates_of(decision)
    importance = importance_plot(trial, numbers.importance)
    # Slices may be many and have a part of their own; here stand only those that decided something.
    main = tuple(gate for gate in decision.gates if gate not in slices or gate.verdict == "fail")
    sections = [
        PageSection("Gates", [gate_table(main)]),
        PageSection("Metrics on the test rows", [_metrics(trial, numbers)]),
    ]
    last = [
        PageSection("Data and code", [PageTable(("what", "which"), list(facts.items()))]),
        PageSection("More", [Links(dict(links))]),
    ]
    body = "\n".join(
        [
            _head(trial),
            to_html(sections),
            _figures("Plots", plots),
            _slices(trial, slices),
            _figures("Features", [importance])
            if importance is not None
            else "<p class='note'>There was no time to measure the importance of the features.</p>",
            to_html(last),
        ]
    )
    title = f"{decision.model}: {headline(decision)[1].lower()}"
    return html_page(title, body, f"evermodel · run {decision.run_key} · decision {decision.digest}")


def _head(trial: ScoredSample) -> str:
    decision = trial.decision
    kind, ending = headline(decision)
    against = f"version {decision.parent}" if decision.parent else "no champion yet"
    cards = [
        _card(f"challenger: {decision.candidate}", decision.challenger, decision.metric),
        _card(f"champion: {against}", decision.champion, decision.metric),
        _card("gain, positive is better", decision.gain, f"{trial.spec.gate.confidence:.0%} interval", "+"),
    ]
    rows = f'<div class="card"><span>test rows</span><b>{decision.rows:,}</b><span>the same for both</span></div>'
    return f"""<header><div class="kicker">Decision on a challenger</div>
<h1>{escaped(decision.model)}: {escaped(decision.verdict.replace("_", " "))}</h1>
<div class="banner {kind}"><strong>{escaped(ending)}</strong>
{"".join(f"<p>{escaped(sentence)}</p>" for sentence in why(decision))}</div>
<div class="cards">{"".join(cards)}{rows}</div></header>"""


def _card(label: str, triple: tuple[float, float, float] | None, below: str, sign: str = "") -> str:
    if triple is None:
        return f'<div class="card"><span>{escaped(label)}</span><b>-</b><span>nothing to compare</span></div>'
    value, low, high = triple
    bounds = f"{below}, {number(low, sign)} to {number(high, sign)}"
    return f'<div class="card"><span>{escaped(label)}</span><b>{number(value, sign)}</b><span>{escaped(bounds)}</span></div>'


def _metrics(trial: ScoredSample, numbers: DecisionFigures) -> Part:
    own, theirs = numbers.metrics["challenger"], numbers.metrics.get("champion", {})
    rows: list[tuple[str, ...]] = [
        (
            f"{name} (decides)" if name == trial.decision.metric else name,
            interval(own[name]),
            interval(theirs.get(name)),
        )
        for name in own
    ]
    errors = numbers.calibration_error
    if errors:
        rows.append(("calibration error", number(errors["challenger"]), number(errors.get("champion"))))
    return PageTable(("metric", "challenger", "champion"), rows)


def _slices(trial: ScoredSample, slices: tuple[Gate, ...]) -> str:
    if not slices:
        return ""
    plot = slice_plot(trial, slices)
    drawn = "" if plot is None else _figures("Slices", [plot])
    return drawn + to_html([PageSection("Every slice", [gate_table(slices)])])


def _figures(title: str, plots: list[Plot]) -> str:
    drawn = "".join(
        f"<figure{' class=wide' if plot.wide else ''}><h3>{escaped(plot.title)}</h3>"
        f'<img alt="{escaped(plot.title)}" src="{plot.source}"><figcaption>{escaped(plot.caption)}</figcaption></figure>'
        for plot in plots
    )
    return f'<section><h2>{escaped(title)}</h2><div class="plots">{drawn}</div></section>'
