"""Plots of the comparison: the gain with its interval, and the feature importance of both models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evermodel.evaluation.decision import Gate
from evermodel.reports.retrain.numbers import Importance
from evermodel.reports.retrain.plot_style import (
    BAD,
    CHALLENGER,
    CHAMPION,
    FAINT,
    GOOD,
    GRID,
    INK,
    WARN,
    Plot,
    blank,
    labelled,
    plain_ticks,
    shown,
    to_svg,
)
from evermodel.reports.retrain.scored_sample import ScoredSample

_MOST_FEATURES = 20
_MOST_SLICES = 30


def gain_plot(trial: ScoredSample) -> Plot | None:
    """Plot the interval of the gain beside zero and the margin; None without a gain."""
    gain = trial.decision.gain
    if gain is None or not np.isfinite(gain).all():
        return None
    value, low, high = gain
    margin = trial.decision.margin or 0.0
    figure, axes = blank(11.4, 1.7)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    reach = max(abs(low), abs(high), margin) * 1.15
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-0.8, 2.1)
    axes.axvspan(-reach, -margin, color=BAD, alpha=0.07, linewidth=0)
    axes.plot([0, 0], [-0.8, 1.45], color=INK, linewidth=1)
    axes.plot([-margin, -margin], [-0.8, 1.45], color=BAD, linewidth=1, linestyle="--")
    axes.plot([low, high], [0, 0], color=CHALLENGER, linewidth=6, solid_capstyle="butt", alpha=0.45)
    axes.plot([value], [0], "o", color=CHALLENGER, markersize=9)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85}
    axes.text(
        value, 0.55, f"{value:+.4f}", ha="center", color=CHALLENGER, fontsize=10, fontweight="bold", bbox=box
    )
    axes.text(-margin, 1.5, "margin", ha="center", va="bottom", color=BAD, fontsize=8.5)
    axes.text(0, 1.5, "equal", ha="center", va="bottom", color=INK, fontsize=8.5)
    axes.set_yticks([])
    labelled(axes, f"gain in {shown(trial.decision.metric)} (right is better)", "", legend=False)
    caption = (
        f"{trial.spec.gate.confidence:.0%} interval {low:+.4f} to {high:+.4f}: better when all of it is right of "
        "0, not worse when all of it is right of the margin."
    )
    return Plot("Gain over the champion", caption, to_svg(figure), wide=True)


def slice_plot(trial: ScoredSample, slices: Sequence[Gate]) -> Plot | None:
    """Plot the value of every evaluated slice, coloured by its verdict; None without any."""
    evaluated = [gate for gate in slices if gate.value is not None and np.isfinite(gate.value)]
    if not evaluated:
        return None
    ranked = sorted(evaluated, key=lambda gate: gate.value or 0.0)[:_MOST_SLICES][::-1]
    colours = {"pass": GOOD, "fail": BAD, "warn": WARN}
    figure, axes = blank(11.4, 0.9 + 0.27 * len(ranked))
    axes.grid(visible=False, axis="y")
    gain = trial.champion is not None
    if gain:
        axes.axvline(0, color=INK, linewidth=1)
    for verdict, mark in (("pass", "o"), ("warn", "^"), ("fail", "X")):
        found = [(gate.value, place) for place, gate in enumerate(ranked) if gate.verdict == verdict]
        if found:
            x, y = zip(*found, strict=True)
            axes.plot(x, y, mark, color=colours[verdict], markersize=8, label=verdict)
    axes.set_yticks(range(len(ranked)), [shown(gate.name.removeprefix("slice "), 40) for gate in ranked])
    plain_ticks(axes)
    axes.set_ylim(-0.6, len(ranked) - 0.4)
    metric = shown(trial.decision.metric)
    labelled(axes, f"gain in {metric} (right is better)" if gain else metric, "")
    caption = "The gates below list rows, intervals and thresholds."
    if len(evaluated) > len(ranked):
        caption = f"The {len(ranked)} lowest of {len(evaluated)} slices. {caption}"
    return Plot("Gain by slice" if gain else "Value by slice", caption, to_svg(figure), wide=True)


def importance_plot(trial: ScoredSample, importance: Importance) -> Plot | None:
    """Plot the importance of each feature for both models; None if it was not measured in time."""
    if not importance.losses:
        return None
    own = importance.losses["challenger"]
    names = sorted(own, key=lambda name: own[name], reverse=True)[:_MOST_FEATURES][::-1]
    places = np.arange(len(names))
    figure, axes = blank(11.4, 0.95 + 0.3 * len(names))
    axes.grid(visible=False, axis="y")
    both = "champion" in importance.losses
    high = 0.38 if both else 0.6
    shift = high / 2 if both else 0.0
    axes.barh(
        places + shift, [own[n] for n in names], high, color=CHALLENGER, label=shown(trial.challenger.name)
    )
    if both and trial.champion is not None:
        theirs = importance.losses["champion"]
        values = [theirs[name] for name in names]
        axes.barh(places - shift, values, high, color=CHAMPION, label=shown(trial.champion.name))
    axes.axvline(0, color=FAINT, linewidth=0.8)
    axes.spines["left"].set_color(GRID)
    axes.set_yticks(places, [shown(name, 28) for name in names])
    plain_ticks(axes)
    labelled(axes, f"loss of {shown(trial.decision.metric)} when the feature is shuffled", "", legend=both)
    left_out = (
        f", the {_MOST_FEATURES} most important of {len(own)} features" if len(own) > len(names) else ""
    )
    caption = (
        f"Longer is more important. {importance.rows:,} sampled test rows, shuffled {importance.repeats} times"
        f"{left_out}. Correlated features share their importance."
    )
    return Plot("Feature importance", caption, to_svg(figure), wide=True)
