from __future__ import annotations

import math
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evermodel.monitoring.drift.compare import compare
from evermodel.monitoring.drift.profile import (
    MOST_CATEGORIES,
    MOST_POINTS,
    REST,
    merged,
    of_version,
    profile,
    thinned,
)
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.reference_and_current import ExactRows
from evermodel.stats.sample import CategoricalSample, NumericSample
from support.drift_rows import DAY, START, drift_spec, log_day

SHAPES = {
    "normal": lambda g, n: g.normal(size=n),
    "heavy": lambda g, n: g.standard_cauchy(size=n),
    "zeros": lambda g, n: np.where(g.random(n) < 0.8, 0.0, g.exponential(size=n)),
    "gaps": lambda g, n: np.where(g.random(n) < 0.3, np.nan, g.lognormal(size=n)),
    "few": lambda g, n: g.integers(0, 40, n).astype(float),
}


def _side(columns: dict[str, Any]) -> ExactRows:
    return ExactRows(pa.table(columns), frozenset(columns))


@pytest.mark.parametrize("shape", SHAPES)
def test_weeks_put_together_from_profiles_say_the_same_as_all_rows(shape: str) -> None:
    generator = np.random.default_rng(1)
    before = _side({"x": SHAPES[shape](generator, 60_000)}).sample("x")
    days = [SHAPES[shape](generator, 10_000) * (1 + 0.1 * day) for day in range(5)]
    exact = _side({"x": np.concatenate(days)}).sample("x")

    kept = merged([profile(_side({"x": day}), ["x"]) for day in days]).sample("x")

    assert isinstance(kept, NumericSample)
    assert len(kept.values) <= 5 * MOST_POINTS
    assert (kept.rows, kept.missing) == (pytest.approx(exact.rows), exact.missing)
    truly, found = compare(before, exact), compare(before, kept)
    assert found.psi == pytest.approx(truly.psi, abs=5e-4)
    assert abs(math.log10(found.p_value + 1e-300) - math.log10(truly.p_value + 1e-300)) < 0.1 + 0.02 * abs(
        math.log10(truly.p_value + 1e-300)
    )


def test_a_share_below_any_value_is_kept_to_one_in_four_thousand() -> None:
    values = np.sort(np.random.default_rng(2).lognormal(sigma=3, size=123_457))

    kept = thinned(NumericSample(values))

    assert isinstance(kept, NumericSample)
    assert kept.weights is not None
    assert len(kept.values) <= MOST_POINTS
    at = np.quantile(values, np.linspace(0.001, 0.999, 999))
    truly = np.searchsorted(values, at, side="right") / len(values)
    weights = np.append(0, np.cumsum(kept.weights)) / len(values)
    assert np.abs(weights[np.searchsorted(kept.values, at, side="right")] - truly).max() <= 1 / 4_000 + 1e-9


def test_few_values_and_infinite_ones_are_kept_exactly() -> None:
    values = np.sort(np.array([math.inf, 1.0, 1.0, -math.inf, 5.0]))

    kept = thinned(NumericSample(values, missing=3))

    assert isinstance(kept, NumericSample)
    assert kept.values.tolist() == [-math.inf, 1.0, 5.0, math.inf]
    assert kept.weights is not None
    assert kept.weights.tolist() == [1, 2, 1, 1]
    assert kept.missing == 3


def test_of_too_many_categories_the_rarer_ones_become_one() -> None:
    counts = {f"c{i}": float(1 + (i < 5)) for i in range(MOST_CATEGORIES + 500)}

    kept = thinned(CategoricalSample(counts))

    assert isinstance(kept, CategoricalSample)
    assert len(kept.counts) == MOST_CATEGORIES + 1
    assert kept.counts[REST] == 500
    assert kept.rows == sum(counts.values())
    assert kept.counts["c0"] == 2


def test_a_day_is_kept_in_the_lake_and_not_read_again_until_its_log_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = drift_spec(["x", "y"], ["c"])
    generator = np.random.default_rng(3)
    log_day(
        spec, tmp_path, START, {"x": generator.normal(size=500), "y": [None] * 500, "c": ["a", None] * 250}
    )
    first = Profiles(spec, tmp_path).day(START.date())
    assert first is not None
    file = tmp_path / "profiles" / "small" / "date=2024-01-01" / "profile.parquet"
    made = file.stat().st_mtime_ns

    with monkeypatch.context() as patch:
        patch.setattr("evermodel.monitoring.drift.profiles.profile", None)
        again = Profiles(spec, tmp_path).day(START.date())

    assert again is not None
    assert (again.rows, file.stat().st_mtime_ns) == (500, made)
    for name in ("x", "y", "c", "score", of_version("score", "1")):
        kept, before = again.sample(name), first.sample(name)
        assert (kept.rows, kept.missing) == (before.rows, before.missing)
    assert np.array_equal(again.sample("x").values, first.sample("x").values)  # type: ignore[union-attr]
    assert again.sample("c") == CategoricalSample({"a": 250.0}, 250.0)
    assert again.sample("y").missing == 500
    assert np.array_equal(again.joint(["x", "y"]), first.joint(["x", "y"]), equal_nan=True)

    log_day(spec, tmp_path, START, {"x": [1.0] * 20, "y": [2.0] * 20, "c": ["b"] * 20})
    changed = Profiles(spec, tmp_path).day(START.date())
    assert changed is not None
    assert (changed.rows, changed.sample("c").counts) == (20, {"b": 20.0})  # type: ignore[union-attr]


def test_a_damaged_profile_is_made_again_and_a_day_without_a_log_has_none(tmp_path: Path) -> None:
    spec = drift_spec(["x"])
    log_day(spec, tmp_path, START, {"x": [1.0] * 20})
    Profiles(spec, tmp_path).day(START.date())
    file = tmp_path / "profiles" / "small" / "date=2024-01-01" / "profile.parquet"
    os.truncate(file, 100)

    found = Profiles(spec, tmp_path).day(START.date())

    assert found is not None
    assert found.rows == 20
    assert Profiles(spec, tmp_path).day((START + DAY).date()) is None
    assert Profiles(spec, tmp_path).days() == [START.date()]


def test_answers_are_kept_by_the_version_that_gave_them(tmp_path: Path) -> None:
    spec = drift_spec(["x"])
    log_day(spec, tmp_path, START, {"x": [1.0] * 20}, score=np.full(20, 0.2))
    log_day(spec, tmp_path, START + DAY, {"x": [1.0] * 30}, version="2", score=np.full(30, 0.9))

    found = Profiles(spec, tmp_path).merged([START.date(), (START + timedelta(days=1)).date()])

    assert found is not None
    assert found.sample("score").rows == 50
    new = found.sample(of_version("score", "2"))
    assert isinstance(new, NumericSample)
    assert (new.rows, new.missing, new.values.tolist()) == (30, 0, [0.9])
