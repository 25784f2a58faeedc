"""Drift by feature and day: what each evaluated window measured, and the tests of one column on one day."""

from __future__ import annotations

from typing import Any

from evermodel.reports.overview.store import Store

MOST_DAYS = 90


def drift_by_feature(store: Store, model: str) -> dict[str, Any]:
    """Return the days, and for each column its effect, its limit, its missing share's change and its severity of each day.

    A cell is None where the column was not evaluated. Columns that were furthest beyond their limit lately come first.
    """
    measured = store.runs(model, "features", MOST_DAYS)
    severities = {
        (day["day"], column[0]): column[4]
        for day in store.runs(model, "drift", MOST_DAYS)
        for column in day.get("columns") or []
        if len(column) > 4 and column[1] == "feature"
    }
    cells: dict[str, list[Any]] = {}
    for number, day in enumerate(measured):
        for name, (effect, limit, missing) in day["effects"].items():
            row = cells.setdefault(name, [None] * len(measured))
            row[number] = [effect, limit, missing, severities.get((day["day"], name), "")]
    features = [{"name": name, "cells": row, "worst": _worst(row)} for name, row in cells.items()]
    return {
        "days": [day["day"] for day in measured],
        "features": sorted(features, key=lambda one: (-one["worst"], one["name"])),
    }


def _worst(row: list[Any]) -> float:
    """Return by how much the last week's effects are beyond their limits at most; 0 where no limit is known."""
    return max((cell[0] / cell[1] for cell in row[-7:] if cell and cell[1]), default=0.0)


def column_tests(verdict: dict[str, Any], column: str) -> dict[str, Any]:
    """Return all tests of a column from a stored verdict, those of pairs with it, and what its window's segments show."""
    problems = {problem["kind"]: problem for problem in verdict["problems"]}
    performance = problems.get("performance", {})
    return {
        "tests": [one for one in verdict["columns"] if column in _columns_of(one)],
        "segments": [line for line in performance.get("details", []) if "baseline" in line],
        "quality": [line for line in problems.get("quality", {}).get("details", []) if column in line],
        "reference_rows": verdict["reference_rows"],
        "window_rows": verdict["window_rows"],
        "start": verdict["start"],
        "end": verdict["end"],
    }


def _columns_of(test: dict[str, Any]) -> list[str]:
    name: str = test["column"]
    return name.split(" ~ ") if test["what"] == "correlation" else [name]
