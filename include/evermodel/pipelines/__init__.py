"""The steps that DAGs and commands call, each idempotent by run key.

Imports every package but `cli`.
"""

__all__ = [
    "adopt",
    "backtest",
    "deploy",
    "drift",
    "migrate",
    "quarantined",
    "reproduce",
    "retrain",
    "run_retrain",
    "status",
    "steps",
    "transfer",
    "watch",
]
