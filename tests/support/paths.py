"""Where the project and its sample data lie."""

from __future__ import annotations

from pathlib import Path

PROJECT = Path(__file__).parents[2]
SAMPLE = PROJECT / "tests" / "data" / "flights_sample.parquet"
