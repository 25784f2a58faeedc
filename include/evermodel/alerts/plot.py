"""A plot of the columns that drifted most: the share of every bin, in the reference and in the window."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.alerts.text import moment, one_line
from evermodel.monitoring.drift.figures import effect_figure, number, tests_figure
from evermodel.monitoring.drift.verdict import Bin, ColumnDrift, DriftVerdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Two colours of Okabe and Ito's palette, distinguishable for colour-blind readers and in grey.
_REFERENCE, _WINDOW, _INK, _FAINT = "#9AA5B1", "#D55E00", "#1D1C1D", "#616061"
_MOST_BINS = 12
_DOTS_PER_INCH = 100


def drift_plot(
    verdict: DriftVerdict, path: Path, most: int = 4, bands: tuple[float, float] = (0.1, 0.25)
) -> Path:
    """Plot the worst columns of a window and of their reference.

    Parameters
    ----------
    path
        The PNG to write; 1200 pixels wide, 675 high, or 430 if there is one row of columns only.
    most
        Most columns to draw. Drifted columns come first; with none, the columns with the largest index.
    bands
        The index from which drift counts as a warning, and as critical.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # A Figure without pyplot: tasks may share a process, and pyplot's figures are global.
    chosen = _chosen(verdict, most)
    across = 1 if len(chosen) == 1 else 2
    down = max(1, -(-len(chosen) // across))
    height = 6.75 if down > 1 else 4.3
    figure = Figure(figsize=(12, height), dpi=_DOTS_PER_INCH, facecolor="white")
    figure.set_layout_engine(
        ConstrainedLayoutEngine(rect=(0.012, 0.02, 0.976, 0.98 - 0.88 / height), hspace=0.09, wspace=0.05)
    )
    FigureCanvasAgg(figure)
    _head(figure, verdict, height)
    if not chosen:
        figure.text(0.5, 0.5, "No columns to compare", ha="center", color=_FAINT, fontsize=16)
    for place, column in enumerate(chosen, start=1):
        _column(
            figure.add_subplot(down, across, place), column, bands, room=24 if across == 1 else _MOST_BINS
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    figure.savefig(draft, format="png", metadata={"Software": "evermodel"})
    os.replace(draft, path)
    return path


def _chosen(verdict: DriftVerdict, most: int) -> list[ColumnDrift]:
    shown = verdict.drifting or tuple(sorted(verdict.columns, key=lambda column: -column.effect))
    return [column for column in shown if column.bins][:most]


def _head(figure: Any, verdict: DriftVerdict, height: float) -> None:
    figure.text(
        0.018,
        1 - 0.37 / height,
        _plain(f"{verdict.model}: {tests_figure(verdict)} show drift", 70),
        fontsize=17,
        fontweight="bold",
        color=_INK,
    )
    period = f"window {moment(verdict.start)} until {moment(verdict.end)}"
    figure.text(0.018, 1 - 0.64 / height, f"Share of rows by bin, {period}", fontsize=12, color=_FAINT)
    for x, colour, label in (
        (0.70, _REFERENCE, f"Reference, {verdict.reference_rows:,} rows"),
        (0.70, _WINDOW, f"Window, {verdict.window_rows:,} rows"),
    ):
        y = 1 - (0.32 if colour == _REFERENCE else 0.62) / height
        figure.text(x, y, "■", fontsize=16, color=colour, va="center")
        figure.text(x + 0.02, y, label, fontsize=12, color=_INK, va="center")


def _column(axes: Axes, column: ColumnDrift, bands: tuple[float, float], room: int) -> None:
    import numpy as np

    bins = _most_changed(column.bins, room)
    places = np.arange(len(bins))
    axes.bar(places - 0.2, [100 * b.reference for b in bins], width=0.4, color=_REFERENCE)
    axes.bar(places + 0.2, [100 * b.window for b in bins], width=0.4, color=_WINDOW)
    letters = 24 if len(bins) <= 4 else 15
    axes.set_xticks(places, [_plain(b.label, letters) for b in bins])
    crowded = sum(len(_plain(b.label, letters)) for b in bins) > 5 * room
    axes.tick_params(axis="x", labelsize=9, length=0, rotation=35 if crowded else 0)
    if crowded:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
    axes.tick_params(axis="y", labelsize=9, length=0, colors=_FAINT)
    axes.yaxis.set_major_formatter("{x:.0f} %")
    axes.yaxis.set_major_locator(_few_ticks())
    axes.grid(axis="y", color="#E8E8E8", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#BBBBBB")
    if len(bins) < len(column.bins):
        axes.set_xlabel(
            f"the {len(bins)} of {len(column.bins)} that changed most", fontsize=9, color=_FAINT, loc="left"
        )
    axes.set_title(_title(column, bands), fontsize=12, color=_INK, loc="left", pad=8)


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, min_n_ticks=3)


def _title(column: ColumnDrift, bands: tuple[float, float]) -> str:
    least = column.threshold or bands[0]
    threshold = max(bands[1], least) if column.severity == "critical" else least
    state = "" if column.severity == "none" else f" ({column.severity})"
    side = "≥" if column.effect >= threshold else "<"
    name = _plain(column.column, 30)
    normal = f", normal up to {number(column.calm)}" if column.calm else ""
    return f"{name}   {effect_figure(column)} {side} {number(threshold)}{state}{normal}"


def _most_changed(bins: tuple[Bin, ...], room: int) -> list[Bin]:
    """Return the bins whose share changed most, in their order."""
    by_change = sorted(range(len(bins)), key=lambda i: -abs(bins[i].window - bins[i].reference))
    return [bins[i] for i in sorted(by_change[:room])]


def _plain(text: str, most: int) -> str:
    # "$" would start a formula in matplotlib.
    line = one_line(text).replace("$", r"\$")
    return line if len(line) <= most else line[: most - 1].rstrip("\\") + "…"
