"""From a fitted pipeline to an ONNX graph in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evermodel.modeling.onnx.answers import (
    boosting_decision,
    calibrated_answers,
    converted_answers,
    forest_answers,
    is_forest,
    is_linear,
    linear_answers,
    linear_decision,
    linked,
)
from evermodel.modeling.onnx.boosted import boosted_answers
from evermodel.modeling.onnx.columns import Columns, column_stage
from evermodel.modeling.onnx.encoding import Encoding, Exported, without_formulas
from evermodel.modeling.onnx.graph import NotExportableError
from evermodel.modeling.onnx.network import network_answers

if TYPE_CHECKING:
    from evermodel.modeling.tasks import FittedPipeline


def export(pipeline: FittedPipeline) -> Exported:
    """Write a fitted pipeline as a graph.

    Parameters
    ----------
    pipeline
        A `ColumnTransformer` and an estimator, as `evermodel.modeling.estimators.build_pipeline` makes them. Formulas
        before them are computed before the graph.

    Raises
    ------
    NotExportableError
        A part of it has no graph.
    """
    formulas, pipeline = without_formulas(pipeline)
    if len(pipeline.steps) != 2 or type(pipeline[0]).__name__ != "ColumnTransformer":
        raise NotExportableError("only a column transformer followed by an estimator has a graph")
    columns = column_stage(pipeline[0])
    columns, answers = _answered(columns, pipeline[-1])
    found = tuple(str(name) for name in getattr(pipeline[-1], "classes_", ()))
    classes = found if len(found) > 2 else ()
    names = tuple(str(name) for name in pipeline[0].feature_names_in_)
    graph = columns.graph.serialized(answers, len(classes) or 1)
    given = tuple(name for name in names if name not in formulas)
    return Exported(graph, Encoding(given, columns.codes, formulas), classes)


def _answered(columns: Columns, estimator: Any) -> tuple[Columns, str]:
    kind = type(estimator).__name__
    if kind == "CalibratedClassifierCV":
        return _calibrated(columns, estimator)
    if kind.startswith("Boosted"):
        return boosted_answers(columns, estimator)
    if kind.startswith("Network"):
        return columns, network_answers(columns.graph, columns.matrix, estimator)
    if kind.startswith("HistGradientBoosting"):
        columns, decision = boosting_decision(columns, estimator)
        return columns, linked(columns, decision, estimator)
    if is_forest(estimator):
        return columns, forest_answers(columns.graph, columns.matrix, estimator)
    if is_linear(estimator):
        return columns, linear_answers(columns.graph, columns.matrix, estimator)
    return columns, converted_answers(columns.graph, columns.matrix, estimator)


def _calibrated(columns: Columns, calibrated: Any) -> tuple[Columns, str]:
    fitted = calibrated.calibrated_classifiers_
    if len(fitted) != 1 or len(calibrated.classes_) != 2:
        raise NotExportableError("calibration of several folds or classes has no graph")
    inner = fitted[0].estimator
    inner = getattr(inner, "estimator", inner)  # within a FrozenEstimator
    kind = type(inner).__name__
    if kind.startswith("HistGradientBoosting"):
        columns, decision = boosting_decision(columns, inner)
    elif kind.startswith("Boosted"):
        columns, decision = boosted_answers(columns, inner)
    elif kind.startswith("Network"):
        decision = network_answers(columns.graph, columns.matrix, inner)
    elif kind == "LogisticRegression":
        decision = linear_decision(columns.graph, columns.matrix, inner)
    elif is_forest(inner):
        decision = forest_answers(columns.graph, columns.matrix, inner)
    else:
        raise NotExportableError(f"the calibrated estimator {kind} has no graph")
    return columns, calibrated_answers(columns.graph, decision, fitted[0].calibrators[0])
