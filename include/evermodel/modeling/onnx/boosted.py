"""Boosted trees of LightGBM and XGBoost as nodes of a graph in float64, read from the libraries' own JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from evermodel.modeling.onnx.columns import Columns
from evermodel.modeling.onnx.encoding import Codes
from evermodel.modeling.onnx.graph import NotExportableError
from evermodel.modeling.onnx.trees import Forest, Leaf, Node, TreeSplit

_SHIFT = 1  # ONNX Runtime is fastest with sets of codes from 1 to 32
_LIGHTGBM_LINKS = {
    "binary": "Sigmoid", "multiclass": "Softmax", "poisson": "Exp", "gamma": "Exp", "tweedie": "Exp",
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg")),
}  # fmt: skip
_XGBOOST_LINKS = {
    "binary:logistic": "Sigmoid", "multi:softprob": "Softmax",
    "count:poisson": "Exp", "reg:gamma": "Exp", "reg:tweedie": "Exp",
    **dict.fromkeys(("reg:squarederror", "reg:absoluteerror", "reg:quantileerror", "reg:pseudohubererror")),
    **dict.fromkeys(("rank:ndcg", "rank:map", "rank:pairwise")),
}  # fmt: skip
_TO_MARGIN: dict[str | None, Callable[[Any], Any]] = {"Sigmoid": lambda p: np.log(p / (1 - p)), "Exp": np.log}


def boosted_answers(columns: Columns, estimator: Any) -> tuple[Columns, str]:
    """Return the columns with the codes that the trees know, and the answers (binary: of the second class).

    Parameters
    ----------
    estimator
        A fitted `evermodel.modeling.boosting.estimators.Boosted`.

    Raises
    ------
    NotExportableError
        CatBoost's statistics of categories, or an objective or kind of tree that has no graph.
    """
    if estimator.library == "lightgbm":
        return _lightgbm(columns, estimator._model)
    if estimator.library == "xgboost":
        return _xgboost(columns, estimator._model)
    raise NotExportableError(f"trees of {estimator.library} have no graph")


def _lightgbm(columns: Columns, model: Any) -> tuple[Columns, str]:
    dump = model.dump_model()
    name, *settings = dump["objective"].split()
    link = _link(_LIGHTGBM_LINKS, "LightGBM", name)
    facts = dict(part.partition(":")[::2] for part in settings)
    if "sqrt" in settings:
        raise NotExportableError("LightGBM with the square root of the label has no graph")
    outputs = int(dump["num_tree_per_iteration"])
    forest = Forest(outputs)
    shares = len(dump["tree_info"]) // outputs if dump["average_output"] else 1
    for number, tree in enumerate(dump["tree_info"]):
        forest.add(_lightgbm_tree(tree["tree_structure"], number % outputs, shares))
    graph = columns.graph
    total = graph.add("TreeEnsemble", columns.matrix, **forest.attributes())
    steepness = float(facts.get("sigmoid", 1.0)) if name == "binary" else 1.0
    if steepness != 1.0:
        total = graph.add("Mul", total, graph.constant([[steepness]]))
    return _shifted(columns), _linked(columns, total, link)


def _lightgbm_tree(root: dict[str, Any], output: int, shares: int) -> Callable[[int], Node]:
    """Return the reader of one tree, whose nodes are numbered as they are found."""
    nodes = [root]

    def read(number: int) -> Node:
        found = nodes[number]
        if "leaf_value" in found:
            if "leaf_coeff" in found:
                raise NotExportableError("LightGBM with linear trees has no graph")
            return Leaf((float(found["leaf_value"]) / shares,), output)
        nodes.extend((found["left_child"], found["right_child"]))
        feature, left = int(found["split_feature"]), len(nodes) - 2
        if found["decision_type"] == "==":
            members = tuple(float(code) + _SHIFT for code in str(found["threshold"]).split("||"))
            return TreeSplit(feature, left, left + 1, missing_left=False, members=members)
        kind, threshold = found["missing_type"], float(found["threshold"])
        if kind == "Zero":
            raise NotExportableError("LightGBM that takes zero for a missing value has no graph")
        # Without a missing value in training, one is taken for 0.
        missing_left = bool(found["default_left"]) if kind == "NaN" else threshold >= 0
        return TreeSplit(feature, left, left + 1, missing_left=missing_left, threshold=threshold)

    return read


def _xgboost(columns: Columns, model: Any) -> tuple[Columns, str]:
    from onnx import TensorProto

    learner = json.loads(model.save_raw("json"))["learner"]
    booster, name = learner["gradient_booster"], learner["objective"]["name"]
    if booster["name"] != "gbtree" or int(learner["learner_model_param"]["num_target"]) != 1:
        raise NotExportableError(f"XGBoost with {booster['name']} of several targets has no graph")
    link = _link(_XGBOOST_LINKS, "XGBoost", name)
    outputs = max(1, int(learner["learner_model_param"]["num_class"]))
    forest = Forest(outputs)
    trees = booster["model"]["trees"]
    for tree, output in zip(trees, booster["model"]["tree_info"], strict=True):
        forest.add(_xgboost_tree(tree, int(output)))
    graph = columns.graph
    # Its numbers have 32 bits, in training as in its answers.
    rounded = graph.add(
        "Cast", graph.add("Cast", columns.matrix, to=TensorProto.FLOAT), to=TensorProto.DOUBLE
    )
    total = graph.add("TreeEnsemble", rounded, **forest.attributes())
    base = np.atleast_1d(np.float64(json.loads(learner["learner_model_param"]["base_score"].lower())))
    margin = _TO_MARGIN.get(link, lambda value: value)(base).reshape(1, -1)
    return _shifted(columns), _linked(columns, graph.add("Add", total, graph.constant(margin)), link)


def _xgboost_tree(tree: dict[str, Any], output: int) -> Callable[[int], Node]:
    values = np.asarray(tree["split_conditions"], dtype=np.float32)
    sets = {
        node: tuple(float(code) + _SHIFT for code in tree["categories"][start : start + size])
        for node, start, size in zip(
            tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
        )
    }

    def read(number: int) -> Node:
        left, right = tree["left_children"][number], tree["right_children"][number]
        if left == -1:
            return Leaf((float(values[number]),), output)
        feature, missing_left = tree["split_indices"][number], bool(tree["default_left"][number])
        if tree["split_type"][number]:  # the categories of a set go right
            return TreeSplit(
                feature, right, left, missing_left=not missing_left, members=sets.get(number, ())
            )
        below = float(np.nextafter(values[number], np.float32(-math.inf)))  # what is less goes left
        return TreeSplit(feature, left, right, missing_left=missing_left, threshold=below)

    return read


def _link(links: dict[str, str | None], library: str, objective: str) -> str | None:
    if objective not in links:
        raise NotExportableError(f"{library} with the objective {objective} has no graph")
    return links[objective]


def _linked(columns: Columns, total: str, link: str | None) -> str:
    if link is None:
        return total
    return columns.graph.add(link, total, **({"axis": 1} if link == "Softmax" else {}))


def _shifted(columns: Columns) -> Columns:
    """Return the columns with codes that begin at 1."""
    return replace(
        columns,
        codes={
            name: Codes(
                {category: code + _SHIFT for category, code in found.known.items()},
                found.missing + _SHIFT,
                found.unknown + _SHIFT,
            )
            for name, found in columns.codes.items()
        },
    )
