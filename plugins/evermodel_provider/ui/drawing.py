"""Small charts in the page: coordinates computed here and drawn by the templates as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT = 132, 26
_PAD = 3.0


def spark(strip: Sequence[Sequence[Any]]) -> dict[str, Any] | None:
    """Return the last days of a model as lines and cells; None if there is no day.

    :param strip: Day, severity, metric and baseline metric of each day, oldest first.
    """
    if not strip:
        return None
    step = WIDTH / max(len(strip), 12)
    values = [number for day in strip for number in day[2:4] if number is not None]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = max(high - low, 0.02)

    def place(index: int, value: float) -> str:
        top = _PAD + (high - value) / room * (HEIGHT - 2 * _PAD)
        return f"{(index + 0.5) * step:.1f},{top:.1f}"

    cells: dict[str, str] = {}  # one path for each severity: 500 models of 30 cells would be a long page
    for i, day in enumerate(strip):
        look = str(day[1] or "unknown")
        cells[look] = f"{cells.get(look, '')}M{i * step + 0.5:.1f} {HEIGHT + 4}h{step - 1:.1f}"
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "line": " ".join(place(i, day[2]) for i, day in enumerate(strip) if day[2] is not None),
        "promised": " ".join(place(i, day[3]) for i, day in enumerate(strip) if day[3] is not None),
        "cells": cells,
    }


def whiskers(rows: Sequence[tuple[str, Any, str]]) -> dict[str, Any] | None:
    """Return intervals on one common line, in per cent of its width; None if there is nothing to draw.

    :param rows: Label, value with lower and upper end (or None), and a word for its look.
    """
    known = [(label, triple, look) for label, triple, look in rows if triple and None not in triple]
    if not known:
        return None
    low, high = min(t[1] for _, t, _ in known), max(t[2] for _, t, _ in known)
    room = (high - low) or 1e-9

    def at(value: float) -> float:
        return float(round(6 + 88 * (value - low) / room, 2))

    return {
        "low": low,
        "high": high,
        "rows": [
            {
                "label": label,
                "value": t[0],
                "low": t[1],
                "high": t[2],
                "at": at(t[0]),
                "from": at(t[1]),
                "to": at(t[2]),
                "look": look,
            }
            for label, t, look in known
        ],
    }
