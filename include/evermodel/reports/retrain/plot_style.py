"""The style of all plots in reports, and their embedding as SVG images."""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's blue beside a grey: distinguishable for colour-blind readers and in print.
CHALLENGER, CHAMPION = "#0072B2", "#8A94A0"
GOOD, BAD, WARN = "#1B7F5C", "#C4314B", "#9A6700"
INK, FAINT, GRID = "#1F2933", "#66727F", "#E4E8EC"
_FONTS = ["DejaVu Sans", "Verdana", "Arial", "sans-serif"]


@dataclass(frozen=True)
class Plot:
    """One drawn plot."""

    title: str
    caption: str
    svg: str
    wide: bool = False

    @property
    def source(self) -> str:
        """Data URI of the image; as an image, it cannot run scripts."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


def blank(width: float = 5.6, height: float = 4.2) -> tuple[Figure, Any]:
    """Return an empty figure of this size in inches, and its axes."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # A Figure without pyplot: tasks may share a process, and pyplot's figures are global.
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine(ConstrainedLayoutEngine())
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.tick_params(colors=FAINT, labelsize=9, length=0)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)
    return figure, axes


def labelled(axes: Any, x: str, y: str, *, legend: bool = True) -> None:
    """Label the axes and add the legend."""
    axes.set_xlabel(x, color=FAINT, fontsize=9.5, parse_math=False)
    axes.set_ylabel(y, color=FAINT, fontsize=9.5, parse_math=False)
    if legend:
        box = axes.legend(frameon=False, fontsize=9, labelcolor=INK)
        for text in box.get_texts():
            text.set_parse_math(False)


def plain_ticks(axes: Any) -> None:
    """Show the names on the vertical axis literally, without TeX markup."""
    for tick in axes.yaxis.get_major_ticks():
        tick.label1.set_parse_math(False)
        tick.label1.set_color(INK)


def shown(name: object, most: int = 34) -> str:
    """Return a name from the data on one line, cut to the plot's space."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(name)).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def to_svg(figure: Figure) -> str:
    """Return the figure as SVG text, the same for the same figure."""
    import matplotlib as mpl

    out = io.StringIO()
    # Text stays text: a sixth of the size, and readable by screen readers.
    look = {"svg.fonttype": "none", "svg.hashsalt": "evermodel", "font.family": _FONTS}
    with mpl.rc_context(look), warnings.catch_warnings():
        # A letter that Matplotlib's fonts lack is drawn by the browser from its own.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": "evermodel"})
    text = out.getvalue()
    return text[text.index("<svg") :]
