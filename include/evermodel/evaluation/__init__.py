"""Challenger against champion: metrics, paired bootstrap, gates and the decision.

Imports `modeling` and what stands below it.
"""

__all__ = ["contract", "decision", "evaluate", "evaluated_model", "margin", "next_window"]
