"""One contract over all tests and intervals of `evermodel.stats`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import warnings
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import binom

from evermodel import stats
from support.statistical_methods import LEVEL, METHODS, Method

# Modules that measure, count or learn, and state no error rate.
_WITHOUT_RATES = {
    "boosted_trees", "decisions", "histogram", "metrics", "ranked_lists", "ranking", "sample", "spilled", "weights",
}  # fmt: skip
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=list(METHODS))


def _rejected(method: Method, effect: float, *, tied: bool = False) -> int:
    generator = np.random.default_rng(7)
    change = method.tied if tied and method.tied else lambda data: data
    return sum(method.p_value(*change(method.draw(generator, effect))) <= LEVEL for _ in range(method.times))


def _most(method: Method) -> int:
    """Return what a method that holds its level exceeds once in two thousand times."""
    return int(binom.ppf(0.9995, method.times, LEVEL))


@every_method
def test_the_level_holds_and_power_grows_with_the_effect(method: Method) -> None:
    none, small, large = (_rejected(method, effect) for effect in (0.0, *method.effects))

    assert none <= _most(method)
    assert none <= small <= large
    assert large >= 0.9 * method.times


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.tied])
def test_the_level_holds_with_ties(name: str) -> None:
    method = METHODS[name]

    assert _rejected(method, 0.0, tied=True) <= _most(method)
    assert _rejected(method, method.effects[1], tied=True) >= 0.8 * method.times


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, place) for name, method in METHODS.items() for place in range(len(method.same))],
)
def test_what_means_the_same_changes_nothing(name: str, place: int) -> None:
    method = METHODS[name]
    generator = np.random.default_rng(3)
    for effect in (0.0, *method.effects):
        data = method.draw(generator, effect)

        assert method.p_value(*method.same[place](data)) == pytest.approx(
            method.p_value(*data), rel=1e-6, abs=1e-12
        )


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, place) for name, method in METHODS.items() for place in range(len(method.silent))],
)
def test_of_nothing_one_side_or_one_cluster_nothing_is_said(name: str, place: int) -> None:
    method = METHODS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert method.p_value(*method.silent[place]) > LEVEL


def _functions(module: ModuleType) -> set[str]:
    return {
        name
        for name, found in vars(module).items()
        if inspect.isfunction(found) and found.__module__ == module.__name__ and not name.startswith("_")
    }


def test_no_function_that_states_a_rate_is_left_out() -> None:
    held = {subject.__qualname__ for method in METHODS.values() for subject in method.subjects}
    modules = {module.name for module in pkgutil.iter_modules(stats.__path__)}

    assert modules >= _WITHOUT_RATES
    for name in sorted(modules - _WITHOUT_RATES):
        found = _functions(importlib.import_module(f"evermodel.stats.{name}"))
        assert found <= held, f"{name}: {sorted(found - held)}"


@every_method
def test_a_method_names_its_paper_and_shows_an_example(method: Method) -> None:
    for subject in method.subjects:
        text = inspect.getdoc(subject) or ""
        assert re.search(r"\b(18|19|20)\d\d\b", text), f"{subject.__qualname__}: no paper"
        assert ">>> " in text, f"{subject.__qualname__}: no example"
