from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermodel.spec.window import folds_of, split_window
from support.small_spec import small_spec

AS_OF = datetime(2026, 3, 9, tzinfo=UTC)


@st.composite
def _sections(draw: st.DrawFn) -> dict[str, Any]:
    validation = draw(st.integers(1, 30))
    count = draw(st.integers(1, 12))
    train = draw(st.integers((count - 1) * validation + 1, (count - 1) * validation + 400))
    return {
        "split": {
            "train": f"{train}d",
            "validation": f"{validation}d",
            "test": f"{draw(st.integers(1, 30))}d",
        },
        "training": {"folds": {"kind": draw(st.sampled_from(["expanding", "rolling"])), "count": count}},
    }


@given(_sections())
def test_folds_lie_in_the_order_of_time_before_the_test_part(sections: dict[str, Any]) -> None:
    spec = small_spec(**sections)
    parts, folds = split_window(spec, AS_OF), folds_of(spec, AS_OF)

    assert len(folds) == spec.training.folds.count
    assert folds[-1].check == parts.validation
    for fold in folds:
        assert parts.train.start <= fold.fit.start < fold.fit.end == fold.check.start < fold.check.end
        assert fold.check.end <= parts.test.start
        assert fold.check.end - fold.check.start == spec.split.validation
    for earlier, later in pairwise(folds):
        assert earlier.check.end == later.check.start


@given(_sections())
def test_expanding_folds_keep_all_the_past_and_rolling_ones_as_much_as_each_other(
    sections: dict[str, Any],
) -> None:
    spec = small_spec(**sections)
    folds = folds_of(spec, AS_OF)
    lengths = {fold.fit.end - fold.fit.start for fold in folds}

    if spec.training.folds.kind == "expanding":
        assert {fold.fit.start for fold in folds} == {split_window(spec, AS_OF).train.start}
        assert len(lengths) == len(folds)
    else:
        assert lengths == {spec.split.train - (len(folds) - 1) * spec.split.validation}


def test_without_folds_there_is_the_split_into_train_and_validation() -> None:
    spec = small_spec()
    (fold,), parts = folds_of(spec, AS_OF), split_window(spec, AS_OF)

    assert (fold.fit, fold.check) == (parts.train, parts.validation)


def test_more_folds_than_the_train_part_holds_are_refused() -> None:
    split = {"train": "14d", "validation": "7d", "test": "7d"}
    assert len(folds_of(small_spec(split=split, training={"folds": {"count": 2}}), AS_OF)) == 2
    with pytest.raises(ValueError, match=r"training.folds: 3 folds of split.validation leave no rows"):
        small_spec(split=split, training={"folds": {"count": 3}})


def test_a_half_life_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"training.recency_half_life: must be longer than zero"):
        small_spec(training={"recency_half_life": timedelta(0)})
