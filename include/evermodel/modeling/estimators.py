"""From a model spec to an unfitted scikit-learn pipeline; and a fitted one with calibrated probabilities."""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from evermodel.core.errors import SpecError, TrainingError
from evermodel.core.extras import named_extras
from evermodel.core.settings import trusted_packages
from evermodel.modeling.boosting.libraries import LIBRARIES, Library, iterations_parameter
from evermodel.modeling.networks.epochs import FitSettings
from evermodel.modeling.networks.estimators import NetworkClassifier, NetworkRegressor, is_network
from evermodel.modeling.preprocessing import prepared
from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.spec.parts import Task

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.modeling.boosting.estimators import Boosted
    from evermodel.modeling.tasks import FittedPipeline

# Only these packages, and those that the installation trusts, may be named by a spec: an import path is code that runs.
ALLOWED_PACKAGES = ("sklearn", *LIBRARIES)
_WANTED: dict[Task, str] = {"regression": "regressor", "ranking": "ranker of lightgbm, xgboost or catboost"}


def build_pipeline(spec: ModelSpec, candidate: CandidateSpec) -> Any:
    """Return the preprocessing and the estimator of a candidate as one unfitted pipeline.

    What an estimator gets is chosen by its family, see `evermodel.modeling.preprocessing`.

    A module that the spec names adds a step before that derives features, builds the pipeline itself, or both; formulas
    are the first step.

    Raises
    ------
    SpecError
        The estimator or the module is not what the spec must name.
    """
    from sklearn.pipeline import Pipeline

    pipeline = _pipeline(spec, candidate) if spec.features.module is None else _with_module(spec, candidate)
    if not spec.features.expressions:
        return pipeline
    from evermodel.modeling.row_expressions import RowExpressions

    return Pipeline([("expressions", RowExpressions(dict(spec.features.expressions))), *pipeline.steps])


def _with_module(spec: ModelSpec, candidate: CandidateSpec) -> Any:
    """Return the pipeline that the spec's module builds, or whose features it derives."""
    from sklearn.pipeline import Pipeline

    from evermodel.modeling.user_features import UserFeatures, features_module

    assert spec.features.module is not None
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
    if ":" in candidate.estimator and spec.task != "ranking":
        return _own_pipeline(candidate, spec.seed, spec.task)
    return prepared(spec, build_estimator(candidate, spec.seed, spec.task))


def _own_pipeline(candidate: CandidateSpec, seed: int, task: Task) -> Any:
    """Call a function that builds an estimator of the features as they are, without preprocessing of ours."""
    from sklearn.pipeline import Pipeline, make_pipeline

    build, where = _imported(candidate), f"candidate {candidate.name}: {candidate.estimator}"
    if not callable(build):
        raise SpecError(f"{where} is not a function", "set `estimator` to a function that returns a pipeline")
    params = _checked_params(candidate, _parameters_of(build), seed)
    made = build(**params)
    if not (hasattr(made, "fit") and hasattr(made, _needed(task))):
        raise SpecError(
            f"{where} returned a {type(made).__name__} without `fit` and `{_needed(task)}`",
            f"return an unfitted scikit-learn estimator or pipeline for task: {task}",
        )
    return made if isinstance(made, Pipeline) else make_pipeline("passthrough", made)


def build_estimator(candidate: CandidateSpec, seed: int, task: Task = "binary") -> Any:
    """Import and build a candidate's estimator, seeded if it takes a seed.

    One of a boosting library becomes a `Boosted`, and a network of PyTorch a `Network`, which are stored as data.

    Raises
    ------
    SpecError
        The import path or a parameter is wrong.
    MissingExtraError
        The estimator's library is not installed.
    """
    kind, where = _imported(candidate), f"candidate {candidate.name}"
    wanted = _WANTED.get(task, "classifier that gives probabilities")
    if not _suits(kind, task):
        raise SpecError(
            f"{where}: {candidate.estimator} is not a {wanted}",
            f"set `estimator` to a {wanted}: a class with `fit` and `{_needed(task)}`",
        )
    if is_network(kind):
        return _network(candidate, kind, seed, task)
    params, library = dict(candidate.params), LIBRARIES.get(candidate.package)
    if kind.__name__.startswith("HistGradientBoosting"):
        # By default it would hold out rows at random, also from the future, once there are more than 10,000.
        params.setdefault("early_stopping", False)
    if library is not None:
        params = _library_params(library, params, f"{where}: {kind.__name__}")
    params = _checked_params(candidate.model_copy(update={"params": params}), _parameters(kind), seed)
    return kind(**params) if library is None else _boosted(candidate.estimator, task, params)


def iterations_of(candidate: CandidateSpec) -> str | None:
    """Return the parameter with the number of trees or epochs, by the name that a candidate uses; None if there is none."""
    if candidate.package in ALLOWED_PACKAGES or ":" in candidate.estimator:
        return iterations_parameter(candidate.estimator, candidate.params)
    return FitSettings._fields[0] if is_network(_imported(candidate)) else None


def _network(candidate: CandidateSpec, kind: Any, seed: int, task: Task) -> Any:
    """Return a network as an estimator, its parameters checked before rows are read."""
    given = _parameters(kind)
    allowed = None if given is None else {*given, *FitSettings._fields} - {"inputs", "outputs"}
    params = _checked_params(candidate, allowed, seed)
    return (NetworkRegressor if task == "regression" else NetworkClassifier)(candidate.estimator, params)


def _imported(candidate: CandidateSpec) -> Any:
    """Return what `estimator` names, if its package may be imported."""
    module, _, name = candidate.estimator.replace(":", ".").rpartition(".")
    where = f"candidate {candidate.name}: {candidate.estimator}"
    if candidate.package not in {*ALLOWED_PACKAGES, *trusted_packages()}:
        raise SpecError(
            f"{where} is not from {', '.join(ALLOWED_PACKAGES)}",
            "set `estimator` to one of these packages, or name a package of your own in EVERMODEL_TRUSTED_PACKAGES",
        )
    try:
        with named_extras():
            return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"{where} cannot be imported ({error})", "correct `estimator`") from error


def _checked_params(candidate: CandidateSpec, allowed: set[str] | None, seed: int) -> dict[str, Any]:
    """Return a candidate's parameters with the seed, if all of them are known; None allows any."""
    params = dict(candidate.params)
    if allowed is None or "random_state" in allowed:
        params.setdefault("random_state", seed)
    unknown = [] if allowed is None else sorted(set(params) - allowed)
    if unknown:
        name = candidate.estimator.replace(":", ".").rpartition(".")[2]
        raise SpecError(
            f"candidate {candidate.name}: {name} has no parameter {', '.join(unknown)}",
            f"its parameters are: {', '.join(sorted(allowed or ()))}",
        )
    return params


def _needed(task: Task) -> str:
    return "predict" if task in _WANTED else "predict_proba"


def _boosted(estimator: str, task: Task, params: dict[str, Any]) -> Boosted:
    from evermodel.modeling.boosting.estimators import BoostedClassifier, BoostedRanker, BoostedRegressor

    kinds = {"regression": BoostedRegressor, "ranking": BoostedRanker}
    return kinds.get(task, BoostedClassifier)(estimator, params)


def _library_params(library: Library, params: dict[str, Any], where: str) -> dict[str, Any]:
    """Add the library's defaults, and raise for parameters that are not a spec's to set."""
    managed = [name for name in library.managed if name in params]
    if managed:
        raise SpecError(
            f"{where}: {', '.join(managed)} cannot be set",
            "remove it: categories are those of `features.categorical`, missing values are nulls, and early stopping "
            "is `training.early_stopping`",
        )
    defaults = {names[0]: value for names, value in library.defaults.items() if not set(names) & set(params)}
    return {**defaults, **params}


def _suits(kind: Any, task: Task) -> bool:
    from sklearn.base import RegressorMixin

    if is_network(kind):
        return task != "ranking"
    if not (inspect.isclass(kind) and hasattr(kind, "fit")):
        return False
    ranker = kind.__name__.endswith("Ranker")
    if ranker or task == "ranking":
        return ranker and task == "ranking" and kind.__module__.partition(".")[0] in LIBRARIES
    if task != "regression":
        return hasattr(kind, "predict_proba")
    return issubclass(kind, RegressorMixin) or getattr(kind, "_estimator_type", "") == "regressor"


def _parameters_of(build: Any) -> set[str] | None:
    """Return the parameters of a function or class; None if it accepts any name."""
    if inspect.isclass(build):
        return _parameters(build)
    taken = inspect.signature(build).parameters.values()
    return None if any(p.kind == p.VAR_KEYWORD for p in taken) else {p.name for p in taken}


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
