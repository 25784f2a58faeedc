"""The estimator of a pipeline: from the matrix that it sees to its answers."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from evermodel.modeling.onnx.columns import Columns
from evermodel.modeling.onnx.encoding import Codes
from evermodel.modeling.onnx.graph import Graph, NotExportableError
from evermodel.modeling.onnx.trees import Forest, Leaf, boosting_node, forest_node

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


# Operators as new as it knows them; all of them are part of the newer set that our graphs name.
_OPSETS = {"": 21, "ai.onnx.ml": 3}
_PREFIX = "converted_"


def converted_answers(graph: Graph, matrix: str, estimator: Any) -> str:
    """Put the nodes of a converted estimator behind a matrix.

    Whether they answer as the estimator does is for `evermodel.modeling.onnx.export_if_equal` to say: some do not.

    Returns
    -------
    Name of the answers: probabilities of a classifier (binary: of the second class), or values.

    Raises
    ------
    NotExportableError
        skl2onnx cannot convert it.
    """
    from onnx import TensorProto, compose, helper

    model = compose.add_prefix(_converted(estimator), _PREFIX)
    graph.constants.extend(model.graph.initializer)
    graph.nodes.append(helper.make_node("Identity", [matrix], [model.graph.input[0].name]))
    graph.nodes.extend(model.graph.node)
    # A classifier's first output are its labels.
    answers = graph.add("Cast", model.graph.output[-1].name, to=TensorProto.DOUBLE)
    return graph.pick(answers, [1]) if len(getattr(estimator, "classes_", ())) == 2 else answers


def _converted(estimator: Any) -> Any:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import DoubleTensorType

    classifies = hasattr(estimator, "classes_")
    try:
        with warnings.catch_warnings(action="ignore"):
            return to_onnx(
                estimator,
                initial_types=[("matrix", DoubleTensorType([None, estimator.n_features_in_]))],
                options={id(estimator): {"zipmap": False}} if classifies else None,
                target_opset=_OPSETS,
            )
    except Exception as error:
        said = f"skl2onnx has no graph for {type(estimator).__name__} ({type(error).__name__})"
        raise NotExportableError(said) from error


_SHIFT = 1  # ONNX Runtime is fastest with sets of codes from 1 to 32
_LINKS = {"IdentityLink": None, "LogLink": "Exp", "LogitLink": "Sigmoid", "MultinomialLogit": "Softmax"}


def boosting_decision(columns: Columns, estimator: Any) -> tuple[Columns, str]:
    """Return what the trees add up (rows x outputs), and the columns with the codes that the trees know."""
    graph = columns.graph
    columns, matrix = _remapped(columns, estimator)
    outputs = int(estimator.n_trees_per_iteration_)
    forest = Forest(outputs)
    for iteration in estimator._predictors:
        for target, predictor in enumerate(iteration):
            read = boosting_node(predictor, _SHIFT)
            forest.add(lambda number, read=read, target=target: _aimed(read(number), target))  # type: ignore[misc]
    total = graph.add("TreeEnsemble", matrix, **forest.attributes())
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(1, -1)
    return columns, graph.add("Add", total, graph.constant(base))


def linked(columns: Columns, decision: str, estimator: Any) -> str:
    """Apply the link of the loss: from what the trees add up to probabilities or values."""
    name = type(estimator._loss.link).__name__
    if name not in _LINKS:
        raise NotExportableError(f"histogram boosting with the link {name} has no graph")
    operator = _LINKS[name]
    if operator is None:
        return decision
    attributes = {"axis": 1} if operator == "Softmax" else {}
    return columns.graph.add(operator, decision, **attributes)


def _aimed(node: Any, target: int) -> Any:
    return replace(node, target=target) if isinstance(node, Leaf) else node


def _remapped(columns: Columns, estimator: Any) -> tuple[Columns, str]:
    """Reorder the columns as the trees number them: categories first, with codes of their own."""
    if getattr(estimator, "_preprocessor", None) is None:
        if columns.codes:
            raise NotExportableError("histogram boosting that takes categories for numbers has no graph")
        return columns, columns.matrix
    mask = np.asarray(estimator.is_categorical_, dtype=bool)
    order = [*np.flatnonzero(mask), *np.flatnonzero(~mask)]
    codes = dict(zip(columns.codes, _recoded(columns, estimator, mask), strict=True))
    return replace(columns, codes=codes), columns.graph.pick(columns.matrix, order)


def _recoded(columns: Columns, estimator: Any, mask: Any) -> list[Codes]:
    """Ask the estimator's own encoder what becomes of each code."""
    places = np.flatnonzero(mask)
    if len(places) != len(columns.codes):
        raise NotExportableError("a categorical feature is not declared as categorical to histogram boosting")
    found = []
    still = [next(iter(c.known.values()), np.nan) for c in columns.codes.values()]
    for number, codes in enumerate(columns.codes.values()):
        asked = [*codes.known.values(), codes.missing, codes.unknown]
        rows = np.zeros((len(asked), len(mask)))
        rows[:, places] = still
        rows[:, places[number]] = asked
        *known, missing, unknown = estimator._preprocess_X(rows, reset=False)[:, number] + _SHIFT
        found.append(
            Codes(dict(zip(codes.known, map(float, known), strict=True)), float(missing), float(unknown))
        )
    return found
