"""Aggregates of events as they were known at a row's time: compiled by Ibis, and computed again in Python to check."""

from __future__ import annotations

from evermodel.data.features.compile import with_aggregates
from evermodel.data.features.recompute import Events, recompute

__all__ = ["Events", "recompute", "with_aggregates"]
