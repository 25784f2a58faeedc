"""Categories that the reference never had: how many rows, whether chance could bring them, and what they resemble."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from evermodel.monitoring.drift.profile import REST
from evermodel.stats.sample import CategoricalSample


@dataclass(frozen=True)
class NewCategories:
    """The window's rows in categories that the reference never had.

    Parameters
    ----------
    share, low, high
        Share of the window's known rows, with a 95 % interval (Wilson).
    p_value
        Chance that as many rows fall into categories of one side alone when the sides are one population.
    names
        The categories with their rows, the commonest first.
    variants
        Those that differ from a known category only in case or white space, with the known one.
    """

    share: float
    low: float
    high: float
    p_value: float
    names: tuple[tuple[str, float], ...]
    variants: dict[str, str]

    @property
    def summary(self) -> str:
        """Say it in a few words."""
        if not self.names:
            return "no new category"
        shown = [f"{name!r}{self._like(name)}" for name, _ in self.names[:3]]
        more = f" and {len(self.names) - 3} more" if len(self.names) > 3 else ""
        return f"never seen before: {', '.join(shown)}{more}, {self.share:.1%} of rows"

    def _like(self, name: str) -> str:
        return f" (written like {self.variants[name]!r})" if name in self.variants else ""


def new_categories(reference: CategoricalSample, window: CategoricalSample) -> NewCategories:
    """Find what is new in a window."""
    new = {n: c for n, c in window.counts.items() if c > 0 and reference.counts.get(n, 0) == 0}
    rows, total = sum(new.values()), sum(window.counts.values())
    low, high = _wilson(rows, total)
    ordered = tuple(sorted(new.items(), key=lambda item: (-item[1], item[0])))
    return NewCategories(
        share=rows / total if total else 0.0,
        low=low,
        high=high,
        p_value=_p_value(reference, window, rows),
        names=ordered,
        variants=_variants(reference, [name for name, _ in ordered]),
    )


def can_tell(reference: CategoricalSample) -> bool:
    """Tell whether the reference kept all of its categories: else one that it dropped would look new."""
    return not reference.counts.get(REST) and sum(reference.counts.values()) > 0


def _p_value(reference: CategoricalSample, window: CategoricalSample, rows: float) -> float:
    """Bound the chance of so many rows in categories that only the window has.

    With all rows dealt at random to both sides, a category of ``c`` rows falls wholly into the window with a chance of
    ``s ** c``, where ``s`` is the window's share of all rows. The rows that do so are a sum over categories that are
    negatively associated, so Chernoff's bound for independent ones holds.
    """
    before, now = sum(reference.counts.values()), sum(window.counts.values())
    if rows == 0 or before == 0:
        return 1.0
    names = set(reference.counts) | set(window.counts)
    counts = [reference.counts.get(name, 0) + window.counts.get(name, 0) for name in names]
    sizes, many = np.unique(np.array(counts, dtype=np.float64), return_counts=True)
    decay = -math.log(now / (now + before))
    best = 0.0
    for tilt in decay * np.linspace(0.02, 0.999, 50):
        logs = np.log1p(np.exp(-decay * sizes) * np.expm1(np.minimum(tilt * sizes, 600)))
        best = min(best, float(many @ logs) - tilt * rows)
    return math.exp(best)


def _variants(reference: CategoricalSample, names: list[str]) -> dict[str, str]:
    known = {_folded(name): name for name in reference.counts}
    return {name: known[_folded(name)] for name in names if _folded(name) in known}


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()


def _wilson(hits: float, rows: float, z: float = 1.96) -> tuple[float, float]:
    if rows == 0:
        return 0.0, 0.0
    share, spread = hits / rows, z * z / rows
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / rows + spread / rows / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)
