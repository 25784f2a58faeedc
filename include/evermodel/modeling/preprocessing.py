"""What an estimator gets to see, chosen by its family."""

from __future__ import annotations

import math
from typing import Any

from evermodel.modeling.boosting.libraries import LIBRARIES
from evermodel.spec import ModelSpec

_MOST_CATEGORIES = 254  # that histogram boosting takes; the rarest share one code


def prepared(spec: ModelSpec, estimator: Any) -> Any:
    """Return an unfitted pipeline of the preprocessing that an estimator needs, and the estimator.

    Boosted trees (histogram boosting, LightGBM, XGBoost, CatBoost) get categories as codes that they split as
    categories, and numbers as they are, missing ones too. Any other estimator gets one-hot categories and scaled,
    median-imputed numbers. No category is a category of its own; one unseen in training has no code for the first
    (CatBoost has a code for it), and is ignored (or counted as rare) by the second.
    """
    from sklearn.pipeline import make_pipeline

    from evermodel.modeling.boosting.estimators import Boosted

    numeric, categorical = _columns(spec)
    places = list(range(len(numeric), len(numeric) + len(categorical)))
    if isinstance(estimator, Boosted):
        estimator.set_params(categorical=places)
        unknown = LIBRARIES[estimator.library].unknown_code
        return make_pipeline(_coded(numeric, categorical, unknown=unknown), estimator)
    if type(estimator).__name__.startswith("HistGradientBoosting"):
        estimator.set_params(categorical_features=places)
        return make_pipeline(_coded(numeric, categorical, most=_MOST_CATEGORIES), estimator)
    return make_pipeline(_one_hot(numeric, categorical), estimator)


def _columns(spec: ModelSpec) -> tuple[list[str], list[str]]:
    """Return the numeric and the categorical columns that reach the estimator, derived and computed ones too."""
    features = spec.features
    return (
        [*features.numeric, *features.made_numeric],
        [*features.categorical, *features.derived_categorical],
    )


def _coded(
    numeric: list[str], categorical: list[str], *, most: int | None = None, unknown: float = math.nan
) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OrdinalEncoder

    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=unknown,
        encoded_missing_value=math.nan,
        max_categories=most,
    )
    return ColumnTransformer([("numeric", "passthrough", numeric), ("categorical", encoder, categorical)])


def _one_hot(numeric: list[str], categorical: list[str]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    names = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10, sparse_output=False)
    return ColumnTransformer([("numeric", numbers, numeric), ("categorical", names, categorical)])
