"""Looked-up features: aggregates of a period by key, written by a task and read by the serving app.

Imports `core`, `spec` and `data.sources`; the serving app imports `part` and `store` alone, which import neither sources
nor, before a store is opened, Redis or SQLAlchemy.
"""

__all__ = ["part", "store", "write"]
