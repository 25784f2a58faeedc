"""From a model spec to an unfitted scikit-learn pipeline; and a fitted one with calibrated probabilities."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from evermodel.core.errors import SpecError, TrainingError
from evermodel.core.extras import named_extras
from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.spec.parts import Task

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.modeling.tasks import FittedPipeline

# Only these packages may be named by a spec: an import path is code that runs.
ALLOWED_PACKAGES = ("sklearn", "lightgbm", "xgboost")


def build_pipeline(spec: ModelSpec, candidate: CandidateSpec) -> Any:
    """Return the preprocessing and the estimator of a candidate as one unfitted pipeline.

    Histogram boosting gets categories as ordinal codes and keeps missing numbers; any other estimator gets one-hot
    categories and scaled, median-imputed numbers. No category is a category of its own; one unseen in training has
    no code for the first, and is ignored (or counted as rare) by the second.

    A module that the spec names adds a first step that derives features, builds the pipeline itself, or both.

    Raises
    ------
    SpecError
        The estimator or the module is not what the spec must name.
    """
    from sklearn.pipeline import Pipeline

    if spec.features.module is None:
        return _pipeline(spec, candidate)
    from evermodel.modeling.user_features import UserFeatures, features_module

    module = features_module(spec.features.module)
    pipeline = (
        module.build_pipeline(spec, candidate)
        if hasattr(module, "build_pipeline")
        else _pipeline(spec, candidate)
    )
    if not isinstance(pipeline, Pipeline):
        raise SpecError(
            f"{spec.features.module}.build_pipeline returned a {type(pipeline).__name__}",
            "return an unfitted sklearn.pipeline.Pipeline",
        )
    if not hasattr(module, "features"):
        return pipeline
    derived = spec.features.derived_numeric, spec.features.derived_categorical
    return Pipeline([("features", UserFeatures(spec.features.module, *derived)), *pipeline.steps])


def _pipeline(spec: ModelSpec, candidate: CandidateSpec) -> Any:
    from sklearn.pipeline import make_pipeline

    estimator = build_estimator(candidate, spec.seed, spec.task)
    if type(estimator).__name__.startswith("HistGradientBoosting"):
        numeric, categorical = _columns(spec)
        places = range(len(numeric), len(numeric) + len(categorical))
        estimator.set_params(categorical_features=list(places))
        return make_pipeline(_tree_columns(spec), estimator)
    return make_pipeline(_linear_columns(spec), estimator)


def build_estimator(candidate: CandidateSpec, seed: int, task: Task = "binary") -> Any:
    """Import and build a candidate's estimator, seeded if it takes a seed.

    Raises
    ------
    SpecError
        The import path or a parameter is wrong.
    MissingExtraError
        The estimator's library is not installed.
    """
    module, _, name = candidate.estimator.rpartition(".")
    where = f"candidate {candidate.name}"
    if module.split(".")[0] not in ALLOWED_PACKAGES:
        raise SpecError(
            f"{where}: {candidate.estimator} is not from {', '.join(ALLOWED_PACKAGES)}",
            "set `estimator` to one of these packages",
        )
    try:
        with named_extras():
            kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"{where}: {candidate.estimator} cannot be imported ({error})", "correct `estimator`"
        ) from error
    wanted = "regressor" if task == "regression" else "classifier that gives probabilities"
    if not _suits(kind, task):
        needed = "predict" if task == "regression" else "predict_proba"
        raise SpecError(
            f"{where}: {candidate.estimator} is not a {wanted}",
            f"set `estimator` to a {wanted}: a class with `fit` and `{needed}`",
        )
    allowed = _parameters(kind)
    params = dict(candidate.params)
    if allowed is None or "random_state" in allowed:
        params.setdefault("random_state", seed)
    if name.startswith("HistGradientBoosting"):
        # By default it would hold out rows at random, also from the future, once there are more than 10,000.
        params.setdefault("early_stopping", False)
    unknown = [] if allowed is None else sorted(set(params) - allowed)
    if unknown:
        raise SpecError(
            f"{where}: {name} has no parameter {', '.join(unknown)}",
            f"its parameters are: {', '.join(sorted(allowed or ()))}",
        )
    return kind(**params)


def _suits(kind: Any, task: Task) -> bool:
    from sklearn.base import RegressorMixin

    if not (inspect.isclass(kind) and hasattr(kind, "fit")):
        return False
    return issubclass(kind, RegressorMixin) if task == "regression" else hasattr(kind, "predict_proba")


def _parameters(kind: type) -> set[str] | None:
    """Return the parameters of a class, and of its bases if it passes on the rest; None if it accepts any name."""
    names: set[str] = set()
    handed_on = False
    for part in kind.__mro__:
        if part is object:
            return None if handed_on else names
        if "__init__" not in vars(part):
            continue
        taken = list(inspect.signature(vars(part)["__init__"]).parameters.values())[1:]
        names |= {p.name for p in taken if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
        handed_on = any(p.kind == p.VAR_KEYWORD for p in taken)
        if not handed_on:
            break
    return names


def _columns(spec: ModelSpec) -> tuple[list[str], list[str]]:
    """Return the numeric and the categorical columns that reach the estimator, derived ones too."""
    features = spec.features
    return (
        [*features.numeric, *features.derived_numeric],
        [*features.categorical, *features.derived_categorical],
    )


def _tree_columns(spec: ModelSpec) -> Any:
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OrdinalEncoder

    # 254 is the most categories that histogram boosting takes; the rarest share one code.
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        max_categories=254,
    )
    return ColumnTransformer(
        [
            ("numeric", "passthrough", _columns(spec)[0]),
            ("categorical", encoder, _columns(spec)[1]),
        ]
    )


def _linear_columns(spec: ModelSpec) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    names, categories = _columns(spec)
    numeric = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    categorical = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10, sparse_output=False)
    return ColumnTransformer(
        [
            ("numeric", numeric, names),
            ("categorical", categorical, categories),
        ]
    )


def calibrated(
    pipeline: FittedPipeline,
    method: Literal["sigmoid", "isotonic"],
    frame: pd.DataFrame,
    labels: NDArray[Any],
) -> Any:
    """Return the pipeline with its last step calibrated; fitted steps stay unchanged.

    Rows are not weighted here, so that probabilities are those of the real shares also when classes were balanced.

    Parameters
    ----------
    frame, labels
        Rows that it was not fitted on.

    Raises
    ------
    TrainingError
        A class of the model has no row here.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import Pipeline

    missing = sorted({str(name) for name in pipeline.classes_} - {str(name) for name in np.unique(labels)})
    if missing:
        raise TrainingError(
            f"the validation part has no row of class {', '.join(missing)}, so calibration is impossible",
            "widen `split.validation`, or remove `training.calibrate`",
        )
    calibrator = CalibratedClassifierCV(FrozenEstimator(pipeline[-1]), method=method)
    calibrator.fit(pipeline[:-1].transform(frame), labels)
    return Pipeline([*pipeline.steps[:-1], ("calibrated", calibrator)])
