from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp, wasserstein_distance
from tests.simulations.distances import jensen_shannon, kolmogorov_smirnov, wasserstein

from evermodel.stats.sample import NumericSample


def _numbers(values: Any) -> NumericSample:
    return NumericSample(np.sort(np.asarray(values, dtype=np.float64)))


@pytest.fixture(params=["normal", "ties", "cauchy", "one", "constant"])
def sides(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    generator = np.random.default_rng(11)
    return {
        "normal": (generator.normal(size=900), generator.normal(0.1, 2, 333)),
        "ties": (generator.integers(0, 9, 500), generator.integers(1, 12, 500)),
        "cauchy": (generator.standard_cauchy(2000), generator.standard_cauchy(100) + 1),
        "one": (generator.normal(size=50), [0.5]),
        "constant": ([3.0] * 40, [3.0] * 20 + [4.0]),
    }[request.param]


def _evidently(name: str, before: Any, now: Any, kind: str = "num") -> float:
    import pandas as pd
    from evidently.legacy.calculations.stattests.registry import get_registered_stattest
    from evidently.legacy.core import ColumnType

    test = get_registered_stattest(name, ColumnType(kind))
    return float(test(pd.Series(before), pd.Series(now), ColumnType(kind), None).drift_score)


def test_wasserstein_is_that_of_evidently_and_scipy(sides: tuple[Any, Any]) -> None:
    found = wasserstein(_numbers(sides[0]), _numbers(sides[1]))

    assert found == pytest.approx(_evidently("wasserstein", *sides), abs=1e-6)
    spread = max(float(np.std(sides[0])), 0.001)
    assert found == pytest.approx(wasserstein_distance(*sides) / spread, abs=1e-9)


def test_wasserstein_takes_weights_and_leaves_infinities_out() -> None:
    weighted = NumericSample(np.array([1.0, 2.0, 5.0]), np.array([3.0, 1.0, 2.0]))

    found = wasserstein(weighted, _numbers([2.0, 4.0]))

    assert found == pytest.approx(wasserstein(_numbers([1, 1, 1, 2, 5, 5]), _numbers([2, 4])), abs=1e-12)
    endless = [-math.inf, 1, 1, 1, 2, 5, 5, math.inf, math.inf]
    assert wasserstein(_numbers(endless), _numbers([2, 4, math.inf])) == pytest.approx(found)
    assert wasserstein(_numbers([]), _numbers([1])) == wasserstein(_numbers([math.inf]), _numbers([1])) == 0


def test_kolmogorov_smirnov_is_that_of_scipy(sides: tuple[Any, Any]) -> None:
    found = kolmogorov_smirnov(_numbers(sides[0]), _numbers(sides[1]))

    assert found == pytest.approx(ks_2samp(*sides).statistic, abs=1e-9)
    assert kolmogorov_smirnov(_numbers([]), _numbers([1.0])) == 0


def test_jensen_shannon_is_that_of_evidently_and_scipy() -> None:
    before, now = {"a": 50.0, "b": 30.0, "c": 20.0}, {"b": 5.0, "c": 9.0, "d": 6.0}
    rows = [[name for name, many in side.items() for _ in range(int(many))] for side in (before, now)]

    found = jensen_shannon(before, now)

    assert found == pytest.approx(_evidently("jensenshannon", *rows, kind="cat"), abs=1e-6)
    assert found == pytest.approx(jensenshannon([50, 30, 20, 0], [0, 5, 9, 6]), abs=1e-12)
    assert jensen_shannon(before, {}) == 0
