"""Histogram boosting: its columns in the order and with the codes that its trees know, and its link."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from evermodel.modeling.onnx.columns import Columns
from evermodel.modeling.onnx.encoding import Codes
from evermodel.modeling.onnx.graph import NotExportableError
from evermodel.modeling.onnx.trees import Forest, boosting_node

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
    from evermodel.modeling.onnx.trees import Leaf

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
