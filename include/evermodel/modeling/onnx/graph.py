"""A small builder of ONNX graphs in float64."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


class NotExportableError(Exception):
    """A pipeline has a part without a graph; scikit-learn serves it instead."""


INPUT, OUTPUT = "rows", "answers"
_OPSET, _ML_OPSET, _IR = 21, 5, 10


@dataclass
class Graph:
    """Nodes that grow one after another; every method returns the name of a new value.

    Parameters
    ----------
    columns
        Columns of the input matrix ``rows``.
    """

    columns: int
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, values: Any, kind: Any = np.float64) -> str:
        """Add a constant."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype=kind), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of the standard operators."""
        from onnx import helper

        name = f"v{len(self.nodes)}"
        domain = "ai.onnx.ml" if operator == "TreeEnsemble" else ""
        self.nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def pick(self, source: str, columns: list[int] | NDArray[np.intp]) -> str:
        """Take columns of a matrix."""
        return self.add("Gather", source, self.constant(columns, np.int64), axis=1)

    def serialized(self, result: str, width: int) -> bytes:
        """Return the model whose output is a value with so many columns."""
        from onnx import TensorProto, helper

        self.nodes.append(helper.make_node("Identity", [result], [OUTPUT]))
        graph = helper.make_graph(
            self.nodes,
            "evermodel",
            [helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, [None, self.columns])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.DOUBLE, [None, width])],
            self.constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("ai.onnx.ml", _ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
        serialized: bytes = model.SerializeToString()
        return serialized
