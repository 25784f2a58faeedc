"""Challenger against champion: metrics, paired bootstrap, gates and the decision.

Imports `modeling` and what stands below it.
"""

__all__ = [
    "contract", "decision", "evaluate", "evaluated_model", "fairness", "margin", "next_window", "slices",
]  # fmt: skip
