"""Statistics on NumPy arrays: tests, intervals, metrics, sequential tests.

Imports `core` and `spec`; without files, servers or tables.
"""

__all__ = [
    "boosted_trees",
    "bootstrap",
    "calibration",
    "classifier",
    "clusters",
    "conformal",
    "contingency",
    "decisions",
    "histogram",
    "metrics",
    "ranked_lists",
    "ranks",
    "sample",
    "sequential",
    "serial",
    "spilled",
    "stability",
    "successive",
    "weights",
]
