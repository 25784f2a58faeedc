"""The report of a backtest: one self-contained HTML file, with the metric over time under each policy."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.atomic import replacing
from evermodel.core.html import render
from evermodel.pipelines.backtest.compare import PolicyComparison
from evermodel.pipelines.backtest.outcome import PolicyOutcome
from evermodel.pipelines.backtest.text import COST_HEAD, cost_rows, findings, notes, result_head, result_rows
from evermodel.reports.retrain.document import PageTable
from evermodel.reports.retrain.plot_style import BAD, FAINT, GRID, INK, Plot, blank, labelled, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Okabe and Ito's colours, told apart by colour-blind people.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5B6773")
_GREY = "#B8C0C8"
_STRIP = 1.25  # inches


def metric_plot(comparison: PolicyComparison) -> Plot:
    """Draw one strip for each policy, the base policy in each of them for comparison."""
    return Plot(
        f"{comparison.facts['metric']} by week under each policy",
        f"Line and band: the week's value with its 95 % interval over rows; grey: {comparison.base}. "
        "▲ a retrain that shipped, ▽ one that the gate rejected or that failed; red ring: a week in which the replaced "
        "champion would have been significantly better.",
        to_svg(_strips(comparison)),
        wide=True,
    )


def exchange_plot(comparison: PolicyComparison) -> Plot | None:
    """Draw what each week under a new champion gained over the one that it replaced; None if none was replaced."""
    outcomes = [one for one in comparison.outcomes if one.exchanges]
    if not outcomes:
        return None
    figure, axes = blank(10.4, 0.9 + 0.5 * len(outcomes))
    for place, outcome in enumerate(reversed(outcomes)):
        for one in outcome.exchanges:
            colour = BAD if one.surely else "#D9A441" if one.hurt else "#1B7F5C"
            axes.plot([one.low, one.high], [place, place], color=colour, alpha=0.18, lw=2)
            axes.plot(one.gain, place, "o", ms=4.5, color=colour, alpha=0.8, mew=0)
    axes.axvline(0, color=INK, lw=0.9)
    axes.set_yticks(range(len(outcomes)), [one.policy for one in reversed(outcomes)])
    axes.set_ylim(-0.6, len(outcomes) - 0.4)
    metric = comparison.facts["metric"]
    labelled(axes, f"{metric}, new champion less the replaced one, by week", "", legend=False)
    return Plot(
        "What retraining brought, week by week",
        "Each dot is a week under a retrained champion, compared with the champion that it replaced on the same rows. "
        "Left of the line retraining hurt; red: significantly.",
        to_svg(figure),
        wide=True,
    )


def save_png(comparison: PolicyComparison, target: Path) -> None:
    """Write the plot of the metric as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = _strips(comparison)
    FigureCanvasAgg(figure)
    with replacing(target) as temporary:
        figure.savefig(temporary, format="png", dpi=90)


def _strips(comparison: PolicyComparison) -> Figure:
    outcomes = comparison.outcomes
    base = next(one for one in outcomes if one.policy == comparison.base)
    figure, _ = blank(10.4, _STRIP * len(outcomes) + 0.9)
    figure.clear()
    strips: list[Any] = list(figure.subplots(len(outcomes), 1, sharex=True, sharey=True, squeeze=False)[:, 0])
    for number, (axes, outcome) in enumerate(zip(strips, outcomes, strict=True)):
        _strip(axes, outcome, base, _COLOURS[number % len(_COLOURS)])
    strips[0].margins(x=0.02)
    bottom, top = strips[0].get_ylim()
    strips[0].set_ylim(bottom - 0.12 * (top - bottom), top)
    for axes, outcome in zip(strips, outcomes, strict=True):
        _marks(axes, outcome)
    strips[-1].tick_params(axis="x", pad=9)  # the marks of retrains hang over the axis
    _legend(figure, comparison.base)
    figure.supylabel(str(comparison.facts["metric"]), color=FAINT, fontsize=9.5)
    return figure


def _strip(axes: Any, outcome: PolicyOutcome, base: PolicyOutcome, colour: str) -> None:
    _dress(axes)
    if outcome is not base:
        days, values, _, _ = _line(base)
        axes.plot(days, values, color=_GREY, lw=1.1, zorder=1)
    days, values, lows, highs = _line(outcome)
    axes.fill_between(days, lows, highs, color=colour, alpha=0.15, lw=0)
    axes.plot(days, values, color=colour, lw=1.5, marker="o", ms=2.4, zorder=3)
    tried, shipped = len(outcome.retrains), outcome.shipped
    said = f"{outcome.policy}: {outcome.words}" + (f" ({tried} tried, {shipped} shipped)" if tried else "")
    axes.set_title(said, loc="left", fontsize=9.5, color=INK, pad=3)
    sure = {one.start for one in outcome.exchanges if one.surely}
    rings = [(day, week.value) for day, week in zip(days, _known(outcome), strict=True) if week.start in sure]
    if rings:
        axes.plot(*zip(*rings, strict=True), "o", ms=8, mfc="none", mec=BAD, mew=1.3, zorder=4)


def _legend(figure: Figure, base: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def mark(shape: str, fill: str, edge: str, size: float, words: str) -> Line2D:
        return Line2D([], [], ls="", marker=shape, mfc=fill, mec=edge, ms=size, label=words)

    grey = Line2D([], [], color=_GREY, lw=1.1, label=f"the policy {base}")
    handles = [
        grey,
        Patch(color=_GREY, alpha=0.4, lw=0, label="95 % interval over the week's rows"),
        mark("^", INK, INK, 5, "a retrain that shipped"),
        mark("v", "white", INK, 5, "one that was rejected or failed"),
        mark("o", "none", BAD, 8, "the replaced champion would have been significantly better"),
    ]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=3, frameon=False, fontsize=8.5, labelcolor=INK
    )


def _marks(axes: Any, outcome: PolicyOutcome) -> None:
    place = axes.get_ylim()[0]
    for one in outcome.retrains:
        marker, fill = ("^", INK) if one.shipped else ("v", "white")
        axes.plot(
            date.fromisoformat(one.as_of),
            place,
            marker,
            ms=5,
            mfc=fill,
            mec=INK,
            mew=0.8,
            clip_on=False,
            zorder=5,
        )


def _dress(axes: Any) -> None:
    axes.tick_params(colors=FAINT, labelsize=8, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)


def _known(outcome: PolicyOutcome) -> list[Any]:
    return [week for week in outcome.weeks if week.value is not None]


def _line(outcome: PolicyOutcome) -> tuple[list[date], list[float], list[float], list[float]]:
    weeks = _known(outcome)
    days = [date.fromisoformat(week.start) for week in weeks]
    return days, [w.value for w in weeks], [w.low for w in weeks], [w.high for w in weeks]


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
