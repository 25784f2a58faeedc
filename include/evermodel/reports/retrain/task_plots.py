"""Plots of a task: of classifiers (ROC, precision and recall, calibration, probabilities, confusion matrix) and of regressions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from evermodel.modeling.tasks import confidence_of
from evermodel.reports.retrain.plot_style import (
    CHALLENGER,
    CHAMPION,
    FAINT,
    INK,
    Plot,
    blank,
    labelled,
    shown,
    to_svg,
)
from evermodel.reports.retrain.scored_sample import ScoredModel, ScoredSample

_POINTS = 200
_BINS = 10
_MOST_CLASSES = 15


def binary_plots(trial: ScoredSample) -> list[Plot]:
    """Return the plots of a binary classifier."""
    return [roc(trial), precision_recall(trial), calibration(trial), spread(trial)]


def multiclass_plots(trial: ScoredSample) -> list[Plot]:
    """Return the plots of a classifier of many classes."""
    return [confusion(trial), calibration(trial)]


def roc(trial: ScoredSample) -> Plot:
    """Plot the true positive rate against the false positive rate."""
    from sklearn.metrics import roc_curve

    figure, axes = blank()
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.8, linestyle=":")
    for side, style in _styled(trial):
        x, y, _ = roc_curve(trial.truth, side.answers)
        axes.plot(*_thinned(x, y), **style)
    labelled(axes, "false positive rate", "true positive rate")
    return Plot("ROC", "Up and left is better; the dotted line is random guessing.", to_svg(figure))


def precision_recall(trial: ScoredSample) -> Plot:
    """Plot precision against recall."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = blank()
    axes.axhline(float(np.mean(trial.truth)), color=FAINT, linewidth=0.8, linestyle=":")
    for side, style in _styled(trial):
        precision, recall, _ = precision_recall_curve(trial.truth, side.answers)
        axes.plot(*_thinned(recall, precision), **style)
    axes.set_ylim(0, 1.02)
    labelled(axes, "recall", "precision")
    return Plot(
        "Precision and recall",
        "Up and right is better; the dotted line is the share of positives.",
        to_svg(figure),
    )


def calibration(trial: ScoredSample) -> Plot:
    """Plot observed against predicted shares, in ten groups of equal size."""
    figure, axes = blank()
    tops = []
    for side, style in _styled(trial):
        hits, probabilities = confidence_of(trial.spec, trial.truth, side.answers)
        order = np.argsort(probabilities, kind="stable")
        groups = [group for group in np.array_split(order, _BINS) if len(group)]
        x = [float(probabilities[group].mean()) for group in groups]
        y = [float(hits[group].mean()) for group in groups]
        tops += [*x, *y]
        axes.plot(x, y, marker="o", markersize=4, **style)
    top = min(1.0, max(tops) * 1.08) or 1.0
    axes.plot([0, top], [0, top], color=FAINT, linewidth=0.8, linestyle=":")
    what = "share of positives" if trial.spec.task == "binary" else "share that was right"
    labelled(axes, "predicted probability", what)
    return Plot(
        "Calibration",
        "On the dotted line, probabilities are calibrated. Each point is a tenth of the test rows.",
        to_svg(figure),
    )


def spread(trial: ScoredSample) -> Plot:
    """Plot the challenger's probabilities of positives and of negatives."""
    figure, axes = blank()
    answers = trial.challenger.answers
    edges = np.linspace(float(answers.min()), float(answers.max()) + 1e-9, 31)
    for outcome, colour, label in ((0, CHAMPION, "negatives"), (1, CHALLENGER, "positives")):
        rows = answers[trial.truth == outcome]
        shares = np.histogram(rows, edges)[0] / max(1, len(rows))
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.45, label=f"{label} ({len(rows):,})")
    labelled(axes, "probability by the challenger", "share of rows")
    return Plot("Probabilities by outcome", "Further apart is better.", to_svg(figure))


def confusion(trial: ScoredSample) -> Plot:
    """Plot the predicted against the true class."""
    guesses = trial.challenger.answers.argmax(axis=1)
    kept, names = _kept_classes(trial)
    truth, guess = kept[trial.truth], kept[guesses]
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (truth, guess), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(4.2, 0.46 * len(names) + 1.6)
    figure, axes = blank(size + 1.2, size)
    axes.grid(visible=False)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = [shown(name, 18) for name in names]
    for ticks in (
        axes.set_xticks(range(len(names)), labels, rotation=35, ha="right"),
        axes.set_yticks(range(len(names)), labels),
    ):
        for tick in ticks:
            tick.label1.set_parse_math(False)
    for row, column in np.argwhere(counts > 0):
        share = shares[row, column]
        colour = "white" if share > 0.55 else INK
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", fontsize=8, color=colour)
    labelled(axes, "predicted class", "true class", legend=False)
    caption = "Rows add up to 100 %: the predicted classes of each true class."
    return Plot("Confusion matrix", caption, to_svg(figure))


def _kept_classes(trial: ScoredSample) -> tuple[np.ndarray, list[str]]:
    """Return the place of each class in the plot; of too many classes the rarest share the last one."""
    classes = trial.classes
    if len(classes) <= _MOST_CLASSES:
        return np.arange(len(classes)), list(classes)
    common = np.argsort(-np.bincount(trial.truth, minlength=len(classes)), kind="stable")[: _MOST_CLASSES - 1]
    places = np.full(len(classes), _MOST_CLASSES - 1)
    places[common] = np.arange(len(common))
    return places, [*(classes[i] for i in common), f"{len(classes) - len(common)} others"]


def _styled(trial: ScoredSample) -> Iterator[tuple[ScoredModel, dict[str, Any]]]:
    styles = (
        {"color": CHALLENGER, "linewidth": 2.0, "zorder": 3},
        {"color": CHAMPION, "linewidth": 1.6, "linestyle": (0, (5, 2))},
    )
    for side, style in zip(trial.sides, styles, strict=False):
        yield side, {**style, "label": shown(side.name)}


def _thinned(x: Any, y: Any) -> tuple[Any, Any]:
    """Thin a curve to a few hundred points; more are not visible."""
    keep = np.unique(np.linspace(0, len(x) - 1, _POINTS).round().astype(int))
    return x[keep], y[keep]


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
