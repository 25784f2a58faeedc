"""Snapshots."""

__all__ = ["dvc", "snapshot"]
