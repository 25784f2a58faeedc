"""The estimator of a pipeline: from the matrix that it sees to its answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from evermodel.modeling.onnx.graph import Graph, NotExportableError
from evermodel.modeling.onnx.trees import Forest, forest_node

_FORESTS = ("RandomForest", "ExtraTrees", "DecisionTree", "ExtraTree")
_LINEAR_REGRESSORS = ("LinearRegression", "Ridge", "Lasso", "ElasticNet", "HuberRegressor", "BayesianRidge")


def linear_answers(graph: Graph, matrix: str, estimator: Any) -> str:
    """Return the answers of a linear model: probabilities of a classifier (binary: of the second class), or values."""
    decision = linear_decision(graph, matrix, estimator)
    if type(estimator).__name__ in _LINEAR_REGRESSORS:
        return decision
    many = len(estimator.classes_) > 2
    return graph.add("Softmax", decision, axis=1) if many else graph.add("Sigmoid", decision)


def is_linear(estimator: Any) -> bool:
    """Tell whether an estimator is one of the linear models whose graph is written here."""
    return type(estimator).__name__ in ("LogisticRegression", *_LINEAR_REGRESSORS)


def linear_decision(graph: Graph, matrix: str, estimator: Any) -> str:
    """Return what a linear model adds up: rows x 1, or rows x classes."""
    weights = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64))
    product = graph.add("MatMul", matrix, graph.constant(weights.T))
    return graph.add("Add", product, graph.constant(np.asarray(estimator.intercept_).reshape(1, -1)))


def forest_answers(graph: Graph, matrix: str, estimator: Any) -> str:
    """Return the answers of scikit-learn's trees: mean probabilities (binary: of the second class), or mean values."""
    from onnx import TensorProto

    trees = getattr(estimator, "estimators_", [estimator])
    classes = len(getattr(estimator, "classes_", [0]))
    outputs = [1] if classes == 2 else list(range(classes))
    forest = Forest(len(outputs))
    for tree in trees:
        read = forest_node(tree.tree_, lambda values: values[outputs if classes > 1 else [0]] / len(trees))
        for target in range(len(outputs)):
            forest.add(read, target)
    # Their training rounds every number to 32 bits, and so must their answers.
    rounded = graph.add("Cast", graph.add("Cast", matrix, to=TensorProto.FLOAT), to=TensorProto.DOUBLE)
    return graph.add("TreeEnsemble", rounded, **forest.attributes())


def is_forest(estimator: Any) -> bool:
    """Tell whether an estimator is made of scikit-learn's plain trees."""
    name = type(estimator).__name__
    return name.removesuffix("Classifier").removesuffix("Regressor") in _FORESTS


def calibrated_answers(graph: Graph, decision: str, calibrator: Any) -> str:
    """Map a decision to a probability the way a fitted calibrator does."""
    kind = type(calibrator).__name__
    if kind == "_SigmoidCalibration":
        scaled = graph.add("Mul", decision, graph.constant([[-float(calibrator.a_)]]))
        return graph.add("Sigmoid", graph.add("Add", scaled, graph.constant([[-float(calibrator.b_)]])))
    if kind == "IsotonicRegression":
        return _interpolated(graph, decision, calibrator.X_thresholds_, calibrator.y_thresholds_)
    raise NotExportableError(f"the calibrator {kind} has no graph")


def _interpolated(graph: Graph, value: str, at: Any, level: Any) -> str:
    """Interpolate between points, and stay level outside them."""
    from onnx import TensorProto

    x, y = np.asarray(at, dtype=np.float64), np.asarray(level, dtype=np.float64)
    if len(x) < 2:
        zero = graph.add("Mul", value, graph.constant([[0.0]]))
        return graph.add("Add", zero, graph.constant([[float(y[0])]]))
    clipped = graph.add("Min", graph.add("Max", value, graph.constant([[x[0]]])), graph.constant([[x[-1]]]))
    passed = graph.add("Cast", graph.add("Greater", clipped, graph.constant([x[1:-1]])), to=TensorProto.INT64)
    piece = graph.add("ReduceSum", passed, graph.constant([1], np.int64), keepdims=1)
    slope = np.diff(y) / np.diff(x)
    rise = graph.add("Sub", clipped, graph.add("Gather", graph.constant(x[:-1]), piece))
    gained = graph.add("Mul", rise, graph.add("Gather", graph.constant(slope), piece))
    return graph.add("Add", gained, graph.add("Gather", graph.constant(y[:-1]), piece))
