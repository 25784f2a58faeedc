from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from evermodel.monitoring.drift.two_sample import categorical_p_value, numeric_p_value
from evermodel.stats.sample import CategoricalSample, NumericSample

Draw = Callable[[np.random.Generator, int], np.ndarray]
TIMES = 300


def _zeros(values: np.ndarray, generator: np.random.Generator, share: float = 0.6) -> np.ndarray:
    return np.where(generator.random(len(values)) < share, 0.0, np.exp(values))


def _numeric(before: np.ndarray, now: np.ndarray) -> float:
    one, other = NumericSample(np.sort(before)), NumericSample(np.sort(now))
    return numeric_p_value(one, other)


def _categorical(before: np.ndarray, now: np.ndarray) -> float:
    one, other = (
        CategoricalSample({str(i): float(rows) for i, rows in enumerate(side) if rows})
        for side in (before, now)
    )
    return categorical_p_value(one, other)


def _shares(many: int, tilt: float = 0) -> np.ndarray:
    shares = 1 / np.arange(1, many + 1) ** (1 - tilt)
    return np.asarray(shares / shares.sum())


NUMBERS: dict[str, Draw] = {
    "normal": lambda generator, rows: generator.normal(size=rows),
    "heavy": lambda generator, rows: generator.standard_cauchy(rows),
    "zeros": lambda generator, rows: _zeros(generator.normal(size=rows), generator),
    "whole": lambda generator, rows: generator.poisson(1.5, rows).astype(float),
}


def _holds(p_values: np.ndarray) -> None:
    for level in (0.05, 0.01, 0.0005):
        found = (p_values <= level).mean()
        assert found <= level + 3.5 * math.sqrt(level * (1 - level) / len(p_values)) + 1 / len(p_values)
    assert (p_values <= 0.2).mean() > 0.1  # nor is it never significant


@pytest.mark.parametrize(("reference", "window"), [(1000, 100), (1000, 1000), (5000, 200)])
@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.slow
def test_calm_numbers_are_significant_as_rarely_as_stated(kind: str, reference: int, window: int) -> None:
    generator = np.random.default_rng([reference, window])
    draw = NUMBERS[kind]

    _holds(np.array([_numeric(draw(generator, reference), draw(generator, window)) for _ in range(TIMES)]))


@pytest.mark.parametrize(("reference", "window"), [(1000, 100), (1000, 1000), (100_000, 500)])
@pytest.mark.parametrize("many", [2, 10, 50, 1000])
@pytest.mark.slow
def test_calm_categories_are_significant_as_rarely_as_stated(many: int, reference: int, window: int) -> None:
    generator = np.random.default_rng([many, reference, window])
    times = TIMES if many < 1000 else TIMES // 2
    drawn = [generator.multinomial(rows, _shares(many), times) for rows in (reference, window)]

    _holds(np.array([_categorical(*pair) for pair in zip(*drawn, strict=True)]))


@pytest.mark.parametrize(
    ("drift", "least"),
    [
        (lambda values, _: values + 0.29, 0.7),
        (lambda values, _: values * 1.25, 0.6),
        (lambda values, g: np.where(g.random(len(values)) < 0.07, 8 * values, values), 0.75),
    ],
    ids=["location", "scale", "tail"],
)
def test_drift_of_numbers_is_found(
    drift: Callable[[np.ndarray, np.random.Generator], np.ndarray], least: float
) -> None:
    generator = np.random.default_rng(6)
    found = [
        _numeric(generator.normal(size=5000), drift(generator.normal(size=150), generator)) <= 0.01
        for _ in range(150)
    ]

    assert np.mean(found) >= least


def test_a_change_of_the_share_of_zeros_is_found() -> None:
    generator = np.random.default_rng(7)
    found = [
        _numeric(
            *(_zeros(generator.normal(size=n), generator, share) for n, share in ((5000, 0.6), (300, 0.7)))
        )
        <= 0.01
        for _ in range(150)
    ]

    assert np.mean(found) >= 0.75


@pytest.mark.parametrize(("many", "tilt", "least"), [(10, 0.4, 0.75), (50, 0.25, 0.75), (1000, 0.2, 0.9)])
def test_a_more_even_spread_over_categories_is_found(many: int, tilt: float, least: float) -> None:
    generator = np.random.default_rng(many)
    drawn = [generator.multinomial(n, _shares(many, t), 150) for n, t in ((5000, 0.0), (250, tilt))]

    assert np.mean([_categorical(*pair) <= 0.01 for pair in zip(*drawn, strict=True)]) >= least


def test_one_category_among_a_thousand_that_grows_is_found() -> None:
    generator = np.random.default_rng(9)
    grown = _shares(1000) * 0.96
    grown[40] += 0.04
    drawn = generator.multinomial(5000, _shares(1000), 150), generator.multinomial(300, grown, 150)

    assert np.mean([_categorical(*pair) <= 0.01 for pair in zip(*drawn, strict=True)]) >= 0.75
