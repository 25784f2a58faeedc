"""A small model spec for tests that need no world."""

from __future__ import annotations

from typing import Any

from evermodel.spec import ModelSpec


def small_spec(**sections: Any) -> ModelSpec:
    data: dict[str, Any] = {
        "name": "small",
        "source": {"path": "small.parquet"},
        "time_column": "at",
        "id_column": "id",
        "label": {"column": "late", "delay": "1d"},
        "features": {"numeric": ["amount", "age"], "categorical": ["colour"]},
        "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}],
    }
    return ModelSpec.model_validate({**data, **sections})
