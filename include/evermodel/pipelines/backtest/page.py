"""The report of a backtest: one self-contained HTML file."""

from __future__ import annotations

from evermodel.pipelines.backtest.chart import exchange_plot, metric_plot
from evermodel.pipelines.backtest.compare import PolicyComparison
from evermodel.pipelines.backtest.outcome import PolicyOutcome
from evermodel.pipelines.backtest.text import COST_HEAD, cost_rows, findings, notes, result_head, result_rows
from evermodel.reports.retrain.document import Bullets, PageSection, PageTable, Part, escaped, to_html
from evermodel.reports.retrain.html_page import html_page
from evermodel.reports.retrain.plot_style import Plot

_RETRAIN_HEAD = ("as of", "outcome", "gate", "candidate", "replaced", "why it was tried")


def report_page(comparison: PolicyComparison) -> str:
    """Draw everything about a comparison; the page loads nothing and runs nothing."""
    facts = comparison.facts
    plots = [plot for plot in (metric_plot(comparison), exchange_plot(comparison)) if plot is not None]
    results: list[Part] = [
        PageTable(result_head(comparison), result_rows(comparison)),
        Bullets(notes(comparison)),
    ]
    cost: list[Part] = [PageTable(COST_HEAD, cost_rows(comparison))]
    hurting = [PageSection("When retraining hurt", [_hurting(comparison)])]
    retrains = [
        PageSection(f"Retrains under {one.policy}", [_retrains(one)]) for one in _retrained(comparison)
    ]
    what = PageTable(
        ("what", "which"), [(name, str(value)) for name, value in facts.items() if value is not None]
    )
    body = "\n".join(
        [
            _head(comparison),
            to_html([PageSection("Policies side by side", results)]),
            _figures(plots),
            to_html(
                [
                    *hurting,
                    PageSection("Compute time, on the machine that fitted", cost),
                    *retrains,
                    PageSection("What was replayed", [what]),
                ]
            ),
        ]
    )
    title = f"Backtest of {facts['model']}, {facts['start']} to {facts['end']}"
    return html_page(title, body, f"evermodel · result {comparison.digest}")


def _head(comparison: PolicyComparison) -> str:
    facts, said = comparison.facts, findings(comparison)
    tone = "ships" if comparison.best.verdict == "better" else "forced"
    cards = "".join(
        f'<div class="card"><span>{escaped(one.policy)}: mean week</span><b>{one.mean:.3f}</b>'
        f"<span>{escaped(f'{one.low:.3f} to {one.high:.3f}; {one.verdict}')}</span></div>"
        for one in comparison.standings
    )
    rest = "".join(f"<p>{escaped(sentence)}</p>" for sentence in said[1:])
    return f"""<header><div class="kicker">Backtest of retrain policies, {escaped(facts["start"])} to {escaped(facts["end"])}
</div><h1>{escaped(facts["model"])}: when is retraining worth it?</h1>
<div class="banner {tone}"><strong>{escaped(said[0])}</strong>{rest}</div>
<div class="cards">{cards}</div></header>"""


def _figures(plots: list[Plot]) -> str:
    drawn = "".join(
        f'<figure class=wide><h3>{escaped(plot.title)}</h3><img alt="{escaped(plot.title)}" src="{plot.source}">'
        f"<figcaption>{escaped(plot.caption)}</figcaption></figure>"
        for plot in plots
    )
    return f'<section><h2>Over time</h2><div class="plots">{drawn}</div></section>'


def _hurting(comparison: PolicyComparison) -> PageTable:
    rows = [
        (
            one.start,
            outcome.policy,
            one.champion,
            one.replaced,
            f"{one.rows:,}",
            f"{one.gain:+.3f} ({one.low:+.3f} to {one.high:+.3f})",
            "significant" if one.surely else "may be chance",
        )
        for outcome in comparison.outcomes
        for one in outcome.hurt
    ]
    head = ("week of", "policy", "new champion of", "replaced one of", "rows", "gain", "how sure")
    return PageTable(head, sorted(rows))


def _retrained(comparison: PolicyComparison) -> list[PolicyOutcome]:
    return [one for one in comparison.outcomes if one.retrains]


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
