"""Rows: sources, snapshots, validation, the prediction log and labels.

Imports `core` and `spec`.
"""

__all__ = [
    "captures",
    "compaction",
    "day_table",
    "delta_log",
    "dtypes",
    "examples",
    "features",
    "foreign_log",
    "local_engine",
    "online",
    "parquet",
    "prediction_log",
    "snapshots",
    "sources",
    "table_file",
    "table_takeover",
    "validation",
]
