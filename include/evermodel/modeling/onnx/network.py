"""A network of PyTorch as nodes of a graph, behind the matrix that it sees."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.modeling.onnx.graph import Graph, NotExportableError

if TYPE_CHECKING:
    from evermodel.modeling.networks.estimators import Network

_OPSET = 20  # of `torch.onnx`; its operators are part of the newer set that our graphs name
_PREFIX = "network_"


def network_answers(graph: Graph, matrix: str, estimator: Network) -> str:
    """Put a fitted network behind a matrix: in 64 bits, or in 32 if ONNX Runtime lacks one of its operators in 64.

    Returns
    -------
    Name of the answers: probabilities of a classifier (binary: of the second class), or values.

    Raises
    ------
    NotExportableError
        PyTorch cannot write it as a graph, or ONNX Runtime cannot compute it.
    """
    from onnx import TensorProto, compose, helper

    model, wide = _exported(estimator)
    model = compose.add_prefix(model, _PREFIX)
    graph.constants.extend(model.graph.initializer)
    source = matrix if wide else graph.add("Cast", matrix, to=TensorProto.FLOAT)
    graph.nodes.append(helper.make_node("Identity", [source], [model.graph.input[0].name]))
    graph.nodes.extend(model.graph.node)
    outputs = graph.add("Cast", model.graph.output[0].name, to=TensorProto.DOUBLE)
    if not hasattr(estimator, "classes_"):
        scaled = graph.add("Mul", outputs, graph.constant([[estimator.scale_]]))
        return graph.add("Add", scaled, graph.constant([[estimator.center_]]))
    return (
        graph.add("Sigmoid", outputs)
        if len(estimator.classes_) == 2
        else graph.add("Softmax", outputs, axis=1)
    )


def _exported(estimator: Network) -> tuple[Any, bool]:
    """Return the network as a model of ONNX, and whether it has 64 bits."""
    import onnx
    import onnxruntime

    problem = ""
    for kind in (np.float64, np.float32):
        try:
            content = _written(estimator, kind)
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            if not session.get_inputs():
                raise ValueError("its answers do not depend on the rows")
            return onnx.load_from_string(content), kind is np.float64
        except Exception as error:  # noqa: BLE001 - a user's network may do what has no graph
            problem = f"{type(error).__name__}: {error}".splitlines()[0]
    raise NotExportableError(f"the network {estimator.network} has no graph ({problem})")


def _written(estimator: Network, kind: Any) -> bytes:
    import torch

    network, content = estimator.double_network(), io.BytesIO()
    try:
        if kind is np.float32:
            network.float()
        example = torch.from_numpy(np.zeros((2, estimator.n_features_in_), dtype=kind))
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                network, (example,), content, input_names=["matrix"], output_names=["outputs"], opset_version=_OPSET,
                dynamic_axes={"matrix": {0: "rows"}, "outputs": {0: "rows"}}, dynamo=False,
            )  # fmt: skip
    finally:
        network.double()
    return content.getvalue()
