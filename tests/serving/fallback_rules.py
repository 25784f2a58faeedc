"""Rules that the tests name in `serving.fallback.rule`."""

from __future__ import annotations

from typing import Any


def by_amount(row: dict[str, Any]) -> float:
    return 0.9 if row["amount"] is None else 0.1


def throws(row: dict[str, Any]) -> float:
    raise KeyError(row["colour"])


def too_much(row: dict[str, Any]) -> float:
    return 7.0
