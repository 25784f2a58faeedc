"""Statistics on NumPy arrays: tests, intervals, distances, metrics, sequential tests.

Imports `core` and `spec`; without files, servers or tables.
"""

__all__ = [
    "bootstrap",
    "clusters",
    "contingency",
    "decisions",
    "distances",
    "histogram",
    "metrics",
    "ranks",
    "sample",
    "sequential",
    "serial",
    "stability",
    "successive",
    "weights",
]
