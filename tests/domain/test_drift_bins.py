from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from evermodel.data.dtypes import feature_frame
from evermodel.monitoring.drift.bins import MOST_CATEGORIES, CategoryBins, NumberBins, quantiles
from evermodel.stats.sample import CategoricalSample, NumericSample, categories
from evermodel.stats.spilled import numbers
from evermodel.stats.stability import stability
from support.small_spec import small_spec


def _numbers(values: object, missing: float = 0) -> NumericSample:
    return NumericSample(np.sort(np.asarray(values, dtype=np.float64)), missing=missing)


def test_numeric_bins_are_the_deciles_of_the_reference() -> None:
    reference = _numbers(range(1000), missing=7)
    bins = NumberBins.of(reference)

    assert [value for value, _ in bins.cuts] == [100 * step for step in range(1, 10)]
    assert bins.count(reference).tolist() == [100] * 10 + [7]
    assert bins.labels[0] == "< 100"
    assert bins.labels[1] == "100 to 200"
    assert bins.labels[-2:] == ("≥ 900", "missing")


def test_values_outside_the_reference_fall_into_the_outer_bins() -> None:
    found = NumberBins.of(_numbers(range(100))).count(_numbers([-1e300, -math.inf, 1e300, math.inf], 2))

    assert found[0] == 2
    assert found[-2:].tolist() == [2, 2]
    assert found.sum() == 6


def test_a_value_with_many_rows_has_a_bin_of_its_own() -> None:
    bins = NumberBins.of(_numbers([0.0] * 650 + list(range(1, 351))))

    assert bins.labels == ("< 0", "0", "0 to 51", "51 to 151", "151 to 251", "≥ 251", "missing")
    assert bins.count(_numbers([-1.0, 0.0, 0.0, 0.5, 500])).tolist() == [1, 2, 1, 0, 0, 1, 0]


def test_a_constant_column_tells_smaller_same_and_larger_values_apart() -> None:
    bins = NumberBins.of(_numbers([5.0] * 10))

    assert bins.labels == ("< 5", "5", "> 5", "missing")
    assert bins.count(_numbers([5.0, 4.9, 6.0, 6.0])).tolist() == [1, 1, 2, 0]


def test_infinite_references_have_ordered_cuts_and_empty_ones_one_bin() -> None:
    endless = _numbers([-math.inf] * 35 + list(range(30)) + [math.inf] * 35)
    bins = NumberBins.of(endless)

    assert bins.labels[:3] == ("< -inf", "-inf", "-inf to 5")
    assert bins.count(endless).tolist() == [0, 35, 5, 10, 10, 5, 35, 0, 0]
    empty = NumberBins.of(_numbers([], missing=3))
    assert empty.labels == ("any", "missing")
    assert empty.count(_numbers([1.0], missing=2)).tolist() == [1, 2]


def test_weighted_values_have_the_quantiles_of_their_rows() -> None:
    weighted = NumericSample(np.array([1.0, 2.0, 9.0]), np.array([2.0, 5.0, 3.0]))
    plain = _numbers([1, 1, 2, 2, 2, 2, 2, 9, 9, 9])
    shares = np.arange(1, 10) / 10

    assert quantiles(weighted, shares).tolist() == quantiles(plain, shares).tolist()
    assert NumberBins.of(weighted) == NumberBins.of(plain)
    assert NumberBins.of(plain).count(weighted).tolist() == NumberBins.of(plain).count(plain).tolist()


def test_categories_beyond_the_commonest_share_a_bin_and_new_ones_have_theirs() -> None:
    reference = CategoricalSample({f"c{i:03}": 100 - i for i in range(MOST_CATEGORIES + 5)})
    bins = CategoryBins.of(reference)

    found = bins.count(
        CategoricalSample({"c000": 2, f"c{MOST_CATEGORIES:03}": 1, "unheard of": 4}, missing=3)
    )

    assert bins.common == tuple(f"c{i:03}" for i in range(MOST_CATEGORIES))
    assert (found[0], found[-3], found[-2], found[-1]) == (2, 1, 4, 3)
    assert found.sum() == 10
    assert bins.never_seen(CategoricalSample({"c000": 2, "new": 1, "none": 0})) == {"new": 1}


def test_ties_between_categories_are_broken_by_name() -> None:
    assert CategoryBins.of(CategoricalSample({"b": 1, "a": 1, "c": 2})).common == ("c", "a", "b")


def test_integers_booleans_times_and_nulls_are_numbers() -> None:
    column = pa.chunked_array([pa.array([3, None]), pa.array([1], pa.int64())])
    assert numbers(column.chunks).values.tolist() == [1, 3]
    assert numbers(column.chunks).missing == 1
    assert numbers([pa.array([True, False, None])]).values.tolist() == [0, 1]
    assert numbers([pa.array([math.nan, 2.0])]).missing == 1


@pytest.mark.parametrize(
    "values",
    [
        pa.array([True, False, None]),
        pa.array([1, 2, None]),
        pa.array([1.5, 2.0, None]),
        pa.array([datetime(2026, 1, 5), datetime(2026, 1, 6, 7), None]),
        pa.array(["a", "b", None]).dictionary_encode(),
    ],
    ids=["boolean", "integer", "float", "time", "dictionary"],
)
def test_a_category_has_one_name_in_the_reference_and_in_the_prediction_log(values: pa.Array) -> None:
    spec = small_spec(features={"numeric": [], "categorical": ["colour"]})
    reference = pa.table({"colour": values})
    logged = pa.chunked_array(
        [pa.array(feature_frame(spec, reference)["colour"], pa.string(), from_pandas=True)]
    )

    assert categories(logged.chunks) == categories(reference["colour"].chunks)
    assert categories(logged.chunks).missing == 1


def test_many_rare_categories_do_not_drift_by_themselves() -> None:
    generator = np.random.default_rng(1)
    shares = 1 / np.arange(1, 1001)
    sides = [
        CategoricalSample(
            {str(i): float(n) for i, n in enumerate(generator.multinomial(1000, shares / shares.sum())) if n}
        )
        for _ in range(2)
    ]
    bins = CategoryBins.of(sides[0])
    before, now = (bins.for_index(bins.count(side)) for side in sides)

    assert bins.count(sides[1])[-2] > 100
    assert stability(before, now).psi < 0.05
    few = CategoryBins.of(CategoricalSample({"a": 5}))
    assert few.for_index(few.count(CategoricalSample({"b": 4}))).tolist() == [0, 0, 4, 0]
