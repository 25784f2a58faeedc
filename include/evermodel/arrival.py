"""Has the data of a window arrived?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from evermodel.prediction_log import files_of
from evermodel.sources import arrival
from evermodel.spec import ModelSpec
from evermodel.window import Window


@dataclass(frozen=True)
class Readiness:
    """Whether a window is ready, and what was found."""

    ready: bool
    found: str


def source_ready(spec: ModelSpec, window: Window) -> Readiness:
    """Tell whether the source holds rows of the window's last day."""
    day = Window(max(window.start, window.end - timedelta(days=1)), window.end)
    state = arrival(spec, day)
    newest = "no row at all" if state.newest is None else f"newest row at {state.newest:%Y-%m-%d %H:%M} UTC"
    return Readiness(state.rows > 0, f"{state.rows} rows in {day}; {newest} in {spec.source.path}")


def predictions_ready(spec: ModelSpec, lake: Path, window: Window) -> Readiness:
    """Tell whether the prediction log holds the window's last day."""
    day = Window(max(window.start, window.end - timedelta(days=1)), window.end)
    files = files_of(spec, lake, day)
    return Readiness(bool(files), f"{len(files)} files of the prediction log for {day}")
