"""A graph for many rows at a time: its trees as masks of leaves, the rest by ONNX Runtime."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evermodel.modeling.onnx import runtime
from evermodel.modeling.onnx.encoding import EncodedColumn
from evermodel.modeling.onnx.graph import INPUT, OUTPUT
from evermodel.modeling.onnx.leaves import LeafMasks, Nodes, leaf_masks
from evermodel.modeling.onnx.runtime import FastModel

if TYPE_CHECKING:
    import pyarrow as pa

FEW_ROWS = 16_384
_CHECKED_ROWS = 1000
_SAME = 1e-9
_MEMBER = 6


class BatchModel:
    """Answers batches of rows; several threads may ask at once.

    Parameters
    ----------
    fast
        The graph. It answers the first rows. Then its answers are compared with those of the masks, which are
        dropped if they differ: only the graph was compared with the pipeline.
    masks
        Makes the trees into masks, between what comes before and after them; None lets the graph answer.
    few
        Rows up to which that and its compiler would take longer than they save.
    """

    def __init__(self, fast: FastModel, masks: Callable[[], Masked | None], few: int = FEW_ROWS) -> None:
        self.fast = fast
        self._make = masks
        self._masks: Masked | None = None
        self._few = few
        self._asked = 0
        self._decided = False
        self._lock = threading.Lock()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of the answers, for multiclass."""
        return self.fast.classes

    @property
    def engine(self) -> str:
        """What computes the answers now."""
        return "onnx" if self._masks is None else "masks"

    def answer_table(self, table: pa.Table) -> NDArray[np.float64]:
        """Answer the rows of an Arrow table; see `evermodel.modeling.onnx.encoding.Exported` for the answers' shape."""
        if not self._decided:
            self._decide(table)
        masks = self._masks
        return self.fast.answer_table(table) if masks is None else self._by_masks(masks, table)

    def _by_masks(self, masks: Masked, table: pa.Table) -> NDArray[np.float64]:
        return masks.run(self.fast.encoding.columns(table), table.num_rows)

    def _decide(self, table: pa.Table) -> None:
        """Make the masks when there are enough rows, and take them if they answer as the graph does."""
        with self._lock:
            self._asked += table.num_rows
            if self._decided or self._asked < self._few:
                return
            masks, rows = self._make(), table.slice(0, _CHECKED_ROWS)
            if masks is not None:
                wanted, found = self.fast.answer_table(rows), self._by_masks(masks, rows)
                self._masks = masks if np.allclose(found, wanted, rtol=_SAME, atol=_SAME) else None
            self._decided = True


class Picked(NamedTuple):
    """Columns side by side, whose numbers may have been rounded to 32 bits, as XGBoost and forests do."""

    places: list[int]
    rounded: bool = False

    def of(self, columns: list[EncodedColumn]) -> list[EncodedColumn]:
        """Return these columns; each distinct value is rounded only once."""
        picked = [columns[place] for place in self.places]
        if not self.rounded:
            return picked
        with np.errstate(over="ignore"):
            return [
                EncodedColumn(one.values.astype(np.float32).astype(np.float64), one.places) for one in picked
            ]


class Masked:
    """Trees as masks, with the parts of the graph before and after them.

    Parameters
    ----------
    before
        What makes the trees' input of the rows: `Picked` columns, or a session of what does more than that.
    after
        What makes answers of the sums, whose name is given.
    """

    def __init__(self, before: Picked | Any, masks: LeafMasks, after: Any, name: str) -> None:
        self._before, self._masks, self._after, self._name = before, masks, after, name

    def run(self, columns: list[EncodedColumn], rows: int) -> NDArray[np.float64]:
        """Answer encoded rows."""
        sums = self._masks.run(self._input(columns), rows)
        answers: NDArray[np.float64] = self._after.run([OUTPUT], {self._name: sums})[0]
        return answers

    def _input(self, columns: list[EncodedColumn]) -> list[EncodedColumn]:
        if isinstance(self._before, Picked):
            return self._before.of(columns)
        matrix = np.column_stack([column.spread() for column in columns])
        return [
            EncodedColumn(values)
            for values in np.ascontiguousarray(self._before.run(None, {INPUT: matrix})[0].T)
        ]


def for_batches(folder: Path, fast: FastModel, few: int = FEW_ROWS) -> BatchModel:
    """Prepare a graph that was read from a folder (see `evermodel.modeling.onnx.runtime.read`) for many rows."""
    graph = (folder / runtime.GRAPH_FILE).read_bytes()  # the folder may be gone when the masks are made
    return BatchModel(fast, partial(_masked, graph), few)


def _masked(graph: bytes) -> Masked | None:
    import onnx

    model = onnx.load_from_string(graph)
    trees = [node for node in model.graph.node if node.op_type == "TreeEnsemble"]
    if len(trees) != 1:
        return None
    tree = trees[0]
    nodes = _nodes(tree)
    masks = leaf_masks(nodes)
    before, after = _parts(model, tree)
    if masks is None or after is None:
        return None
    start = _order(model, before, tree.input[0])
    if start is None:
        start = _session(model, before, [INPUT], tree.input[0])
    return Masked(start, masks, _session(model, after, [tree.output[0]], OUTPUT), tree.output[0])


def _parts(model: Any, tree: Any) -> tuple[list[Any], list[Any] | None]:
    """Return the nodes before and after the trees; None if what comes after needs more than their sums."""
    constants = {constant.name for constant in model.graph.initializer}
    place = list(model.graph.node).index(tree)
    known, after = {tree.output[0], *constants}, []
    for node in list(model.graph.node)[place + 1 :]:
        if not set(node.input) <= known:
            return [], None
        known.update(node.output)
        after.append(node)
    return list(model.graph.node)[:place], after


def _order(model: Any, nodes: list[Any], wanted: str) -> Picked | None:
    """Return which columns of the rows a value holds; None if it is more than columns side by side."""
    from onnx import TensorProto, numpy_helper

    constants = {constant.name: constant for constant in model.graph.initializer}
    (width,) = (part.type.tensor_type.shape.dim[1].dim_value for part in model.graph.input)
    columns = {INPUT: Picked(list(range(width)))}
    for node in nodes:
        sources = [found for name in node.input if (found := columns.get(name))]
        if node.op_type == "Concat" and len(sources) == len(node.input):
            joined = [place for source in sources for place in source.places]
            columns[node.output[0]] = Picked(joined, any(source.rounded for source in sources))
        elif node.op_type == "Gather" and sources and node.input[1] in constants:
            picked = numpy_helper.to_array(constants[node.input[1]])
            columns[node.output[0]] = sources[0]._replace(
                places=[sources[0].places[place] for place in picked]
            )
        elif (
            node.op_type == "Cast"
            and sources
            and node.attribute[0].i in (TensorProto.FLOAT, TensorProto.DOUBLE)
        ):
            rounded = sources[0].rounded or node.attribute[0].i == TensorProto.FLOAT
            columns[node.output[0]] = sources[0]._replace(rounded=rounded)
    return columns.get(wanted)


def _session(model: Any, nodes: list[Any], inputs: list[str], output: str) -> Any:
    import onnxruntime
    from onnx import TensorProto, helper

    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "part",
        [helper.make_tensor_value_info(name, TensorProto.DOUBLE, [None, None]) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.DOUBLE, [None, None])],
        [constant for constant in model.graph.initializer if constant.name in used],
    )
    part = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _nodes(tree: Any) -> Nodes:
    from onnx import helper, numpy_helper

    found = {part.name: helper.get_attribute_value(part) for part in tree.attribute}

    def pairs(index: str, leaf: str) -> NDArray[np.int64]:
        return np.column_stack([found[index], found[leaf]]).astype(np.int64)

    modes = numpy_helper.to_array(found["nodes_modes"])
    return Nodes(
        features=np.asarray(found["nodes_featureids"], dtype=np.int64),
        splits=numpy_helper.to_array(found["nodes_splits"]),
        modes=modes,
        missing=np.asarray(found["nodes_missing_value_tracks_true"], dtype=bool),
        members=_members(modes, found.get("membership_values")),
        true=pairs("nodes_truenodeids", "nodes_trueleafs"),
        false=pairs("nodes_falsenodeids", "nodes_falseleafs"),
        weights=numpy_helper.to_array(found["leaf_weights"]),
        targets=np.asarray(found["leaf_targetids"], dtype=np.int64),
        roots=list(found["tree_roots"]),
        outputs=int(found["n_targets"]),
    )


def _members(modes: NDArray[np.uint8], values: Any) -> dict[int, NDArray[np.float64]]:
    """Return the sets of nodes: in the order of the nodes, each ended by NaN."""
    from onnx import numpy_helper

    if values is None:
        return {}
    flat = numpy_helper.to_array(values)
    parts = np.split(flat, np.flatnonzero(np.isnan(flat)) + 1)
    return {int(node): part[:-1] for node, part in zip(np.flatnonzero(modes == _MEMBER), parts, strict=False)}
