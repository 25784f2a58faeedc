"""A graph that answers, by ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from evermodel.core.formats import loads, stamped
from evermodel.modeling.onnx.encoding import Encoding, Exported, Matrix, Row
from evermodel.modeling.onnx.graph import INPUT, OUTPUT

if TYPE_CHECKING:
    import pyarrow as pa

GRAPH_FILE, ENCODING_FILE = "model.onnx", "encoding.json"


@dataclass(frozen=True, eq=False)
class FastModel:
    """A graph in memory; one instance answers many threads.

    Parameters
    ----------
    classes
        Names of the columns of the answers, for multiclass.
    """

    session: Any
    encoding: Encoding
    classes: tuple[str, ...] = ()

    engine: ClassVar[Literal["onnx"]] = "onnx"

    def answer(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Answer rows whose values are in the order of `Encoding.names`; see `Exported` for the answers' shape."""
        return self.run(self.encoding.rows(rows))

    def answer_table(self, table: pa.Table) -> NDArray[np.float64]:
        """Answer the rows of an Arrow table."""
        return self.run(self.encoding.table(table))

    def run(self, matrix: Matrix) -> NDArray[np.float64]:
        """Answer encoded rows, without what formulas compute of them."""
        answers: NDArray[np.float64] = self.session.run([OUTPUT], {INPUT: self.encoding.complete(matrix)})[0]
        return answers


def start(exported: Exported, threads: int = 1) -> FastModel:
    """Load a graph.

    Parameters
    ----------
    threads
        Threads of one call; one is best for few rows.

    Raises
    ------
    ImportError
        ONNX Runtime is not installed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(exported.graph, options, providers=["CPUExecutionProvider"])
    return FastModel(session, exported.encoding, exported.classes)


def write(exported: Exported, folder: Path) -> None:
    """Write a graph and what belongs to it into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GRAPH_FILE).write_bytes(exported.graph)
    facts = {**exported.encoding.to_json(), "classes": list(exported.classes)}
    (folder / ENCODING_FILE).write_text(json.dumps(stamped(facts)), encoding="utf-8")


def read(folder: Path, threads: int = 1) -> FastModel:
    """Load what `write` wrote; see `start` for what is raised."""
    facts = loads((folder / ENCODING_FILE).read_text(encoding="utf-8"), folder / ENCODING_FILE)
    graph = (folder / GRAPH_FILE).read_bytes()
    return start(Exported(graph, Encoding.from_json(facts), tuple(facts["classes"])), threads)
