from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from evermodel.drift.counts import MOST_CATEGORIES, count, count_by_day, fit_binning
from evermodel.frames import feature_frame
from small_spec import small_spec


def _column(*values: object, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    middle = len(values) // 2
    return pa.chunked_array([pa.array(values[:middle], kind), pa.array(values[middle:], kind)])


def test_numeric_bins_are_the_deciles_of_the_reference() -> None:
    binning = fit_binning("x", "numeric", _column(*[float(i) for i in range(1000)]))

    assert binning.edges == pytest.approx(np.quantile(np.arange(1000), np.arange(1, 10) / 10))
    assert len(binning.labels) == 11
    assert count(binning, _column(*[float(i) for i in range(1000)])).tolist() == [100] * 10 + [0]


def test_values_outside_the_reference_fall_into_the_outer_bins_and_missing_ones_into_the_last() -> None:
    binning = fit_binning("x", "numeric", _column(1.0, 2.0, 3.0, 4.0))

    found = count(binning, _column(-1e300, 1e300, float("inf"), float("-inf"), None, float("nan")))

    assert found[0] == 2
    assert found[-2] == 2
    assert found[-1] == 2
    assert found.sum() == 6


def test_a_reference_with_infinite_values_has_ordered_edges() -> None:
    values = [float("-inf")] * 20 + [float(i) for i in range(60)] + [float("inf")] * 20
    binning = fit_binning("x", "numeric", _column(*values))

    found = count(binning, _column(*values))

    assert list(binning.edges) == sorted(binning.edges)
    assert not np.isnan(binning.edges).any()
    assert found.sum() == 100
    assert found[-1] == 0


def test_integers_booleans_and_nulls_are_counted_as_numbers() -> None:
    assert count(fit_binning("x", "numeric", _column(0, 1, 1, None)), _column(True, False, None)).sum() == 3


def test_a_constant_column_has_its_value_in_a_bin_that_a_larger_value_shares_but_no_smaller_one() -> None:
    binning = fit_binning("x", "numeric", _column(*[5.0] * 10))

    assert count(binning, _column(5.0, 4.9)).tolist() == [1, 1, 0]


def test_a_column_of_nulls_has_a_bin_for_any_value() -> None:
    empty = _column(*[None] * 10, kind=pa.float64())
    binning = fit_binning("x", "numeric", empty)

    assert binning.labels == ("any", "missing")
    assert count(binning, _column(1.0, None, kind=pa.float64())).tolist() == [1, 1]
    assert count(
        fit_binning("c", "categorical", empty.cast(pa.string())), _column("a", None, kind=pa.string())
    ).tolist() == [0, 1, 1]


def test_categories_beyond_the_commonest_share_a_bin_and_new_ones_have_theirs() -> None:
    names = [f"c{i:03}" for i in range(MOST_CATEGORIES + 5) for _ in range(100 - i)]
    binning = fit_binning("c", "categorical", _column(*names))

    found = count(binning, _column("c000", f"c{MOST_CATEGORIES:03}", "unheard of", None, "c000"))

    assert binning.categories == tuple(f"c{i:03}" for i in range(MOST_CATEGORIES))
    assert (found[0], found[-3], found[-2], found[-1]) == (2, 1, 1, 1)
    assert found.sum() == 5


def test_ties_between_categories_are_broken_by_name_so_that_bins_do_not_depend_on_the_order_of_rows() -> None:
    one = fit_binning("c", "categorical", _column("b", "a", "c", "c"))
    other = fit_binning("c", "categorical", _column("c", "a", "c", "b"))

    assert one == other
    assert one.categories == ("c", "a", "b")


def test_counts_by_day_add_up_to_the_counts_of_all_days() -> None:
    generator = np.random.default_rng(0)
    values = _column(*generator.normal(size=500).tolist())
    days = np.asarray(generator.integers(0, 9, 500))
    days[days == 4] = 5
    binning = fit_binning("x", "numeric", values)

    by_day = count_by_day(binning, values, days)

    assert by_day.shape == (9, 11)
    assert by_day[4].sum() == 0
    assert by_day.sum(axis=0).tolist() == count(binning, values).tolist()
    assert by_day[3].sum() == (days == 3).sum()


def test_dictionary_encoded_columns_count_like_plain_ones() -> None:
    plain = _column("a", "b", "a", None)
    binning = fit_binning("c", "categorical", plain)

    assert count(binning, plain.dictionary_encode()).tolist() == count(binning, plain).tolist()


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

    found = count(fit_binning("colour", "categorical", reference["colour"]), logged)

    assert found.tolist() == [1, 1, 0, 0, 1]
