"""Snapshots."""

__all__ = ["bucket", "dvc", "snapshot", "store"]
