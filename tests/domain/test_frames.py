"""Training, scoring and serving see the same types and the same categories, whatever the data looks like."""

from __future__ import annotations

import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evermodel.core.errors import SourceError
from evermodel.data.dtypes import feature_frame
from support.small_model import small_rows, small_spec

SPEC = small_spec("unused")


def frame_of(**columns: object) -> pd.DataFrame:
    return feature_frame(SPEC, small_rows(days=1, per_day=3, **columns))


def test_numbers_are_float64_and_categories_are_text_or_none() -> None:
    frame = frame_of(
        wind=[1, None, 3],
        temp=pa.array([decimal.Decimal("1.5"), None, decimal.Decimal(2)], pa.decimal128(5, 2)),
        carrier=["AA", None, ""],
    )
    assert list(frame.columns) == ["temp", "wind", "carrier"]
    assert [str(kind) for kind in frame.dtypes] == ["float64", "float64", "object"]
    np.testing.assert_array_equal(frame["wind"], [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(frame["temp"], [1.5, np.nan, 2.0])
    assert frame["carrier"].tolist() == ["AA", None, ""]


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint32()])
def test_a_whole_number_category_has_the_same_name_with_and_without_a_null_beside_it(
    kind: pa.DataType,
) -> None:
    with_null = frame_of(carrier=pa.array([7, None, 8], kind))["carrier"].tolist()
    without = frame_of(carrier=pa.array([7, 9, 8], kind))["carrier"].tolist()
    assert (with_null, without) == (["7", None, "8"], ["7", "9", "8"])


def test_arrow_dictionaries_and_booleans_are_categories_too() -> None:
    assert frame_of(carrier=pa.array(["AA", None, "BB"]).dictionary_encode())["carrier"].tolist() == [
        "AA",
        None,
        "BB",
    ]
    assert frame_of(carrier=[True, None, False])["carrier"].tolist() == ["true", None, "false"]


def test_a_pandas_frame_gives_the_same_as_an_arrow_table() -> None:
    table = small_rows(days=1, per_day=3, carrier=["AA", None, "BB"])
    pd.testing.assert_frame_equal(feature_frame(SPEC, table.to_pandas()), feature_frame(SPEC, table))


def test_text_in_a_numeric_column_and_a_missing_feature_are_source_errors() -> None:
    with pytest.raises(SourceError, match="column wind is declared numeric") as caught:
        frame_of(wind=["5", "calm", "7"])
    assert "calm" in caught.value.problem
    assert "features.categorical" in caught.value.advice
    for data in (small_rows(wind=None), small_rows(wind=None).to_pandas()):
        with pytest.raises(SourceError, match="model small lacks the features wind; it has id, at"):
            feature_frame(SPEC, data)
