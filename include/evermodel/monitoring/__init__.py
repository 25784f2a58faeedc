"""The verdict on a window: drift, performance, data quality, and when to retrain.

Imports `evaluation` and lower layers.
"""

__all__ = [
    "drift",
    "performance",
    "problems",
    "retrain_history",
    "retrain_policy",
    "skew",
    "summary_tags",
    "verdict",
    "verdict_history",
    "watched_model",
]
