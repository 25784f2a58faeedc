"""Estimators without an exporter here, converted by skl2onnx in float64."""

from __future__ import annotations

import warnings
from typing import Any

from evermodel.modeling.onnx.graph import Graph, NotExportableError

# Operators as new as it knows them; all of them are part of the newer set that our graphs name.
_OPSETS = {"": 21, "ai.onnx.ml": 3}
_PREFIX = "converted_"


def converted_answers(graph: Graph, matrix: str, estimator: Any) -> str:
    """Put the nodes of a converted estimator behind a matrix.

    Whether they answer as the estimator does is for `evermodel.modeling.onnx.agreement` to say: some do not.

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
