"""Rows: sources, snapshots, validation, the prediction log and labels.

Imports `core` and `spec`.
"""

__all__ = ["dtypes", "examples", "parquet", "prediction_log", "snapshots", "sources", "validation"]
