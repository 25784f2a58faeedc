from __future__ import annotations

import math
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evermodel.core.errors import PermanentError
from evermodel.monitoring.drift.compare import ColumnComparison, compare
from evermodel.stats.sample import CategoricalSample, NumericSample, Sample, categories
from evermodel.stats.spilled import numbers

ANY_NUMBER = st.floats(allow_nan=False) | st.sampled_from([0.0, 1.0, -1.0, math.inf, -math.inf])
ANY_NUMBERS = st.tuples(st.lists(ANY_NUMBER, max_size=40), st.integers(0, 30))
ANY_CATEGORIES = st.tuples(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 500)), st.integers(0, 30)
)


def _numbers(values: object, missing: float = 0) -> NumericSample:
    return NumericSample(np.sort(np.asarray(values, dtype=np.float64)), missing=missing)


def _sound(found: ColumnComparison) -> None:
    assert 0 <= found.p_value <= 1
    assert 0 <= found.low <= found.psi <= found.high < math.inf
    assert found.summary
    for side in ("reference", "window"):
        assert sum(getattr(part, side) for part in found.bins) <= 1 + 1e-4


@settings(max_examples=60, deadline=None)
@given(ANY_NUMBERS, ANY_NUMBERS)
def test_any_two_columns_of_numbers_have_an_answer(
    one: tuple[list[float], int], other: tuple[list[float], int]
) -> None:
    _sound(compare(_numbers(*one), _numbers(*other)))


@settings(max_examples=60, deadline=None)
@given(ANY_CATEGORIES, ANY_CATEGORIES)
def test_any_two_columns_of_categories_have_an_answer(
    one: tuple[dict[str, int], int], other: tuple[dict[str, int], int]
) -> None:
    _sound(compare(CategoricalSample(*one), CategoricalSample(*other)))


@pytest.mark.parametrize(
    ("reference", "window"),
    [
        (_numbers([]), _numbers([1.0])),
        (_numbers([1.0, 2.0]), _numbers([])),
        (_numbers([5.0] * 90), _numbers([5.0] * 40)),
        (_numbers([], missing=50), _numbers([], missing=9)),
        (_numbers(range(500)), _numbers([250.0])),
        (_numbers([math.inf] * 9), _numbers([math.inf] * 9)),
        (CategoricalSample({}), CategoricalSample({"a": 3})),
        (CategoricalSample({"a": 30}), CategoricalSample({"a": 3})),
        (CategoricalSample({}, missing=5), CategoricalSample({}, missing=5)),
    ],
)
def test_where_nothing_can_be_said_nothing_is(reference: Sample, window: Sample) -> None:
    found = compare(reference, window)

    assert found.p_value > 0.5
    assert (found.psi, found.low) == (0, 0)


@pytest.mark.parametrize(
    ("reference", "window", "summary"),
    [
        (_numbers(range(500)), _numbers(range(250, 500)), "median 250 → 375"),
        (_numbers(range(500)), _numbers(range(0, 500, 2), missing=60), "missing 0% → 19%"),
        (_numbers([5.0] * 300), _numbers([5.0] * 50 + [6.0] * 40), "5 100.0% → 55.6%"),
        (_numbers([0.0] * 299 + [1.0] * 301), _numbers([0.0] * 100 + [math.inf] * 100), "median 1 → inf"),
        (CategoricalSample({"a": 300, "b": 300}), CategoricalSample({"a": 80, "b": 20}), "a 50.0% → 80.0%"),
        (
            CategoricalSample({"a": 300, "b": 300}),
            CategoricalSample({"a": 50, "b": 50, "x": 40, "y": 1}),
            "never seen: x and 1 more, 29.1%",
        ),
        (
            CategoricalSample({"a": 300}, missing=10),
            CategoricalSample({"a": 70}, missing=70),
            "missing 3% → 50%",
        ),
    ],
)
def test_a_real_change_is_found_and_named(reference: Sample, window: Sample, summary: str) -> None:
    found = compare(reference, window)

    assert found.p_value < 1e-6
    assert found.psi > 0.1
    assert found.low > 0
    assert found.summary == summary


def test_only_rows_that_went_missing_are_evidence() -> None:
    half = _numbers([], missing=100)
    whole = _numbers(range(100))

    assert compare(whole, half).p_value < 1e-9
    assert compare(_numbers(range(300), missing=100), _numbers(range(0, 300, 3), missing=33)).p_value > 0.5


def test_numbers_and_categories_are_not_compared() -> None:
    with pytest.raises(PermanentError, match="column of numbers cannot be compared with one of categories"):
        compare(_numbers([1.0]), CategoricalSample({"a": 1}))


@pytest.mark.parametrize("change", [np.exp, np.cbrt, lambda x: 1000 * x - 7], ids=["exp", "cbrt", "linear"])
def test_a_change_of_units_changes_neither_the_p_value_nor_the_index(change: object) -> None:
    generator = np.random.default_rng(5)
    before, now = np.round(generator.normal(size=2000), 1), np.round(generator.normal(0.1, 1.1, 400), 1)
    assert callable(change)

    plain, changed = (
        compare(_numbers(f(before)), _numbers(f(now))) for f in (lambda x: x, lambda x: change(x))
    )

    assert changed.p_value == pytest.approx(plain.p_value, rel=1e-9)
    assert changed.psi == pytest.approx(plain.psi, abs=1e-12)
    assert changed.p_value < 0.05


@pytest.mark.parametrize("sizes", [(300, 300), (1000, 150)])
def test_the_evidence_is_the_same_from_both_sides(sizes: tuple[int, int]) -> None:
    generator = np.random.default_rng(3)
    one, other = generator.normal(size=sizes[0]), generator.normal(0.25, 1.2, sizes[1])
    zeros = [np.where(generator.random(len(x)) < 0.4, 0, x) for x in (one, other)]
    tallies = [
        CategoricalSample(dict(zip("abcdefgh", generator.multinomial(rows, share).tolist(), strict=True)))
        for rows, share in zip(sizes, ([0.3] + [0.1] * 7, [0.4] + [0.6 / 7] * 7), strict=True)
    ]
    pairs: list[tuple[Sample, Sample]] = [
        (_numbers(one), _numbers(other)),
        (_numbers(zeros[0]), _numbers(zeros[1])),
        (tallies[0], tallies[1]),
    ]

    for before, now in pairs:
        there, back = compare(before, now).p_value, compare(now, before).p_value
        assert there == pytest.approx(back, rel=0.02)


def test_weights_count_like_repeated_rows() -> None:
    generator = np.random.default_rng(8)
    before, now = generator.integers(0, 40, 3000), generator.integers(0, 42, 700)

    def folded(rows: np.ndarray) -> NumericSample:
        values, weights = np.unique(rows.astype(np.float64), return_counts=True)
        return NumericSample(values, weights.astype(np.float64), missing=5)

    plain = compare(_numbers(before, 5), _numbers(now, 5))

    for one, other in ((folded(before), folded(now)), (_numbers(before, 5), folded(now))):
        found = compare(one, other)
        assert found.p_value == pytest.approx(plain.p_value, rel=1e-9)
        assert found.bins == plain.bins
        assert (found.psi, found.low, found.high) == pytest.approx((plain.psi, plain.low, plain.high))


def test_the_order_of_rows_and_of_categories_is_of_no_account() -> None:
    generator = np.random.default_rng(2)
    values, names = generator.normal(size=400), generator.choice([*"abcdef"], 400)
    shuffled = generator.permutation(400)

    def column(rows: np.ndarray) -> list[pa.Array]:
        return [pa.array(rows[:100].tolist()), pa.array(rows[100:].tolist())]

    fixed, tally = numbers(column(values[:300])), categories(column(names[:300]))
    assert compare(numbers(column(values)), fixed) == compare(numbers(column(values[shuffled])), fixed)
    assert compare(categories(column(names)), tally) == compare(categories(column(names[shuffled])), tally)


def test_it_is_made_without_pandas_evidently_or_scipy_stats() -> None:
    code = (
        "import sys, numpy as np; from evermodel.monitoring.drift.compare import compare; "
        "from evermodel.stats.sample import NumericSample, CategoricalSample; x = NumericSample(np.arange(500.0)); compare(x, x); "
        "compare(CategoricalSample({'a': 4, 'b': 9}), CategoricalSample({'a': 9, 'b': 1, 'c': 2})); "
        "print(sorted({'pandas', 'evidently', 'scipy.stats', 'mlflow', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_a_million_rows_take_no_more_than_a_few_sorts() -> None:
    generator = np.random.default_rng(1)
    one, other = (_numbers(generator.normal(size=1_000_000)) for _ in range(2))

    def took(job: object) -> float:
        assert callable(job)
        start = time.process_time()
        job()
        return time.process_time() - start

    ours = min(took(lambda: compare(one, other)) for _ in range(3))
    both = np.concatenate([one.values, other.values])
    merge = min(took(lambda: np.argsort(both, kind="stable")) for _ in range(3))

    assert ours < 15 * merge + 0.02
