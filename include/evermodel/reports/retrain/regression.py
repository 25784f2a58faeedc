"""Plots of regressions: predicted against true values, and the residuals."""

from __future__ import annotations

import numpy as np

from evermodel.reports.retrain.plot_style import (
    CHALLENGER,
    CHAMPION,
    FAINT,
    Plot,
    blank,
    labelled,
    shown,
    to_svg,
)
from evermodel.reports.retrain.scored_sample import ScoredSample

_MOST_POINTS = 3000


def regression_plots(trial: ScoredSample) -> list[Plot]:
    """Return the plots of a regression."""
    return [predicted(trial), residuals(trial)]


def predicted(trial: ScoredSample) -> Plot:
    """Plot predicted against true values."""
    sample = np.random.default_rng(trial.spec.seed).permutation(len(trial.truth))[:_MOST_POINTS]
    truth, answers = trial.truth[sample], trial.challenger.answers[sample]
    figure, axes = blank()
    low, high = float(min(truth.min(), answers.min())), float(max(truth.max(), answers.max()))
    axes.plot([low, high], [low, high], color=FAINT, linewidth=0.8, linestyle=":")
    # As pixels: thousands of vector dots would make the page large.
    axes.plot(
        truth,
        answers,
        "o",
        color=CHALLENGER,
        markersize=3,
        markeredgewidth=0,
        alpha=0.35,
        rasterized=True,
        label=shown(trial.challenger.name),
    )
    labelled(axes, f"true {shown(trial.spec.label.column)}", "predicted")
    caption = f"On the dotted line, predictions are exact. {len(sample):,} test rows."
    return Plot("Predicted and true", caption, to_svg(figure))


def residuals(trial: ScoredSample) -> Plot:
    """Plot the residuals of both models in the same bins."""
    misses = [side.answers - trial.truth for side in trial.sides]
    low, high = np.quantile(np.concatenate(misses), [0.005, 0.995])
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, 41)
    figure, axes = blank()
    for side, miss, colour in zip(trial.sides, misses, (CHALLENGER, CHAMPION), strict=False):
        shares = np.histogram(np.clip(miss, low, high), edges)[0] / len(miss)
        axes.stairs(shares, edges, color=colour, linewidth=1.8, label=shown(side.name))
    axes.axvline(0, color=FAINT, linewidth=0.8, linestyle=":")
    labelled(axes, "predicted minus true", "share of rows")
    return Plot(
        "Residuals", "Narrow and centred on 0 is better. The outermost 1 % is at the edges.", to_svg(figure)
    )
