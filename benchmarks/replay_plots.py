"""Plots of the replays: each column's effect over time beside what it takes to alarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.simulations.replay_days import Replayed

_COLOURS = {"none": "#9aa5b1", "warning": "#e0a100", "critical": "#c62828"}


def draw(rows: Mapping[str, tuple[Sequence[Replayed], str]], target: Path, title: str) -> Path:
    """Draw one strip for each row: the effect by day, coloured by severity, and the threshold as a line.

    Parameters
    ----------
    rows
        Caption of each strip, with its days and the column it shows.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.1 * len(rows) + 0.7), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    for axis, (caption, (days, column)) in zip(axes, rows.items(), strict=True):
        tests = [
            (day.day, c)
            for day in days
            for c in day.columns
            if c.column == column
            and c.what in ("feature", "prediction")
            and not c.summary.startswith("not judged")
        ]
        axis.plot([d for d, _ in tests], [max(c.threshold, 1e-3) for _, c in tests], color="#222", lw=0.8)
        axis.scatter(
            [d for d, _ in tests],
            [max(c.effect, 1e-3) for _, c in tests],
            s=5,
            c=[_COLOURS[c.severity] for _, c in tests],
        )
        axis.set_yscale("log")
        axis.set_ylim(8e-4, 40)
        axis.set_yticks([0.001, 0.1, 10])
        axis.set_ylabel("PSI", fontsize=7)
        axis.tick_params(labelsize=7)
        axis.set_title(caption, fontsize=8, loc="left", pad=2)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=9)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=92)
    return target
