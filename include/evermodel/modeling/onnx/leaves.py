"""Many rows through many small trees without walking them: columns rule out leaves, and one is left in each tree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.modeling.onnx.encoding import EncodedColumn

_CELLS = 4096


class Intervals:
    """Finds intervals as `numpy.searchsorted` does, many times as fast where the thresholds are spread well.

    The range of the thresholds is divided into cells of equal width. A number's cell says how many thresholds lie in
    earlier cells, which are all below it, because rounding keeps the order; those of its own cell are searched.

    Parameters
    ----------
    cuts
        Thresholds, ascending, the last one infinite.
    first
        Number of the first interval.
    """

    def __init__(self, cuts: NDArray[np.float64], first: int = 0) -> None:
        from evermodel.modeling.onnx import kernel

        self._cuts, self._first = np.ascontiguousarray(cuts), first
        self._low, high = (float(cuts[0]), float(cuts[-2])) if len(cuts) > 1 else (0.0, 0.0)
        scale = _CELLS / (high - self._low) if high > self._low else 0.0
        self._scale = scale if math.isfinite(scale) else 0.0  # 0: all in one cell
        cells = np.empty(len(cuts) - 1, np.int32)
        kernel.cells(self._cuts[:-1], self._low, self._scale, _CELLS, cells)
        self._before = np.searchsorted(cells, np.arange(_CELLS + 2)).astype(np.int32)

    def of(self, values: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return the interval of each number; a number that is a threshold lies below it, a missing one in the last."""
        found = np.empty(len(values), np.int32)
        self.find(values, found)
        return found

    def find(self, values: NDArray[np.float64], found: NDArray[np.int32]) -> None:
        """Write the intervals, as `of` returns them."""
        from evermodel.modeling.onnx import kernel

        numbers = np.ascontiguousarray(values)
        kernel.places(numbers, self._cuts, self._before, self._low, self._scale, self._first, found)


_LEQ, _MEMBER = 0, 6
_MOST_BYTES = 400  # of masks per tree and row; with more, walking the trees is faster
_MOST_TABLE = 64 * 2**20
# Multiplying by these puts a pattern that is unique for each bit into the highest bits.
_DE_BRUIJN = {32: (0x077CB531, 27), 64: (0x03F79D71B4CA8B09, 58)}


@dataclass(frozen=True)
class Nodes:
    """The attributes of a TreeEnsemble that decide its answers, one entry for each inner node or leaf.

    Parameters
    ----------
    features, splits, modes, missing
        Of inner nodes: column, threshold, 0 for ``<=`` or 6 for a set, whether a missing value goes to the true side.
    members
        The sets, by node.
    true, false
        Of inner nodes: index of the child, and whether it is a leaf.
    weights, targets
        Of leaves: what it adds, and to which output.
    roots
        First inner node of each tree.
    """

    features: NDArray[np.int64]
    splits: NDArray[np.float64]
    modes: NDArray[np.uint8]
    missing: NDArray[np.bool_]
    members: dict[int, NDArray[np.float64]]
    true: NDArray[np.int64]
    false: NDArray[np.int64]
    weights: NDArray[np.float64]
    targets: NDArray[np.int64]
    roots: list[int]
    outputs: int


class LeafMasks:
    """Trees as masks of leaves (the method of QuickScorer, Lucchese et al., SIGIR 2015).

    For each column and each interval between two thresholds there is a line of masks, one a tree, whose bits are the
    leaves that such a value still allows. The masks of a row's values are combined by AND; the first leaf that is left
    is the row's. The sums are those of the trees up to the order of addition.

    Parameters
    ----------
    cuts
        Thresholds of each column that matters, ascending, the last one infinite.
    tables
        Masks of each of them: intervals (the last one for missing values) x trees.
    weights
        What the leaf of each tree adds, at the place that its bit's pattern gives.
    starts
        First tree of each output.
    """

    def __init__(
        self,
        cuts: dict[int, NDArray[np.float64]],
        tables: dict[int, NDArray[Any]],
        weights: NDArray[np.float64],
        starts: list[int],
    ) -> None:
        first = np.cumsum([0, *(len(table) for table in tables.values())])
        self._intervals = {
            column: Intervals(cuts[column], int(start))
            for column, start in zip(tables, first[:-1], strict=True)
        }
        self._masks = np.concatenate(list(tables.values()))
        self._weights = weights
        self._starts = np.array([*starts, len(weights)])
        factor, shift = _DE_BRUIJN[weights.shape[1]]
        self._factor, self._shift = self._masks.dtype.type(factor), self._masks.dtype.type(shift)

    def run(self, columns: Sequence[EncodedColumn], rows: int) -> NDArray[np.float64]:
        """Return what the trees add up for the columns of their input: rows x outputs."""
        from evermodel.modeling.onnx import kernel

        found = np.empty((len(self._intervals), rows), np.int32)
        for place, (number, intervals) in enumerate(self._intervals.items()):
            column = columns[number]
            if column.places is None:
                intervals.find(column.values, found[place])
            else:
                intervals.of(column.values).take(column.places, out=found[place], mode="clip")
        result = np.empty((rows, len(self._starts) - 1))
        kernel.sums(found, self._masks, self._factor, self._shift, self._weights, self._starts, result)
        return result


def leaf_masks(nodes: Nodes) -> LeafMasks | None:
    """Build the masks; None where walking the trees is faster, or a tree has more than 64 leaves."""
    leaves = [_leaves_of(nodes, root) for root in nodes.roots]
    largest = max(map(len, leaves))
    bits = 32 if largest <= 32 else 64
    columns = [int(column) for column in np.unique(nodes.features)]
    if largest > 64 or len(columns) * bits // 8 > _MOST_BYTES:
        return None
    found = {column: _column(nodes, column) for column in columns}
    if any(part is None for part in found.values()):
        return None
    cuts, passes = {}, {}
    for column, part in found.items():
        assert part is not None
        cuts[column], passes[column] = part
    if sum(len(c) + 1 for c in cuts.values()) * len(nodes.roots) * bits // 8 > _MOST_TABLE:
        return None
    targets = [_target(nodes, found) for found in leaves]
    if set(targets) != set(range(nodes.outputs)):
        return None
    order = sorted(range(len(targets)), key=lambda tree: (targets[tree], tree))
    kind = np.uint32 if bits == 32 else np.uint64
    full = ~kind(0)
    tables = {c: np.full((len(cut) + 1, len(order)), full, dtype=kind) for c, cut in cuts.items()}
    weights = np.zeros((len(order), bits))
    for place, tree in enumerate(order):
        _Tree(nodes, place, bits, passes, tables, weights).fill(nodes.roots[tree])
    ordered = sorted(targets)
    return LeafMasks(cuts, tables, weights, [ordered.index(output) for output in range(nodes.outputs)])


@dataclass
class _Tree:
    """Writes one tree into the tables."""

    nodes: Nodes
    place: int
    bits: int
    passes: dict[int, Callable[[int], NDArray[np.bool_]]]
    tables: dict[int, NDArray[Any]]
    weights: NDArray[np.float64]
    leaves: int = 0

    def fill(self, node: int, leaf: bool = False) -> int:
        """Write what lies below a node, and return the mask of its leaves."""
        nodes = self.nodes
        if leaf:
            bit = 1 << self.leaves
            self.leaves += 1
            factor, shift = _DE_BRUIJN[self.bits]
            pattern = (bit * factor & ((1 << self.bits) - 1)) >> shift
            self.weights[self.place, pattern] = nodes.weights[node]
            return bit
        left = self.fill(int(nodes.true[node, 0]), bool(nodes.true[node, 1]))
        right = self.fill(int(nodes.false[node, 0]), bool(nodes.false[node, 1]))
        column = int(nodes.features[node])
        table = self.tables[column]
        others = table.dtype.type(((1 << self.bits) - 1) ^ left)
        # Where the test fails, the leaves of its true side, which come first, are out.
        table[~self.passes[column](node), self.place] &= others
        return left | right


def _column(
    nodes: Nodes, column: int
) -> tuple[NDArray[np.float64], Callable[[int], NDArray[np.bool_]]] | None:
    """Return the cuts of a column, and for each node which intervals (the last: missing) pass its test."""
    mine = np.flatnonzero(nodes.features == column)
    modes = set(nodes.modes[mine].tolist())
    if modes == {_LEQ}:
        cuts = np.unique(np.append(nodes.splits[mine], np.inf))

        def below(node: int) -> NDArray[np.bool_]:
            found = np.empty(len(cuts) + 1, dtype=bool)
            np.less_equal(cuts, nodes.splits[node], out=found[:-1])
            found[-1] = nodes.missing[node]
            return found

        return cuts, below
    members = np.unique(np.concatenate([nodes.members.get(int(node), np.empty(0)) for node in mine]))
    if modes != {_MEMBER} or not np.array_equal(members, np.round(members)):
        return None
    # Codes are whole numbers: each has an interval of its own, and what lies between two stands for no code.
    cuts = np.unique(np.concatenate([members - 0.5, members + 0.5, [np.inf]]))

    def within(node: int) -> NDArray[np.bool_]:
        found = np.zeros(len(cuts) + 1, dtype=bool)
        found[np.searchsorted(cuts, nodes.members[node] + 0.5)] = True
        found[-1] = nodes.missing[node]
        return found

    return cuts, within


def _children(nodes: Nodes, node: int) -> list[tuple[int, bool]]:
    return [(int(side[node, 0]), bool(side[node, 1])) for side in (nodes.true, nodes.false)]


def _leaves_of(nodes: Nodes, root: int) -> list[int]:
    found: list[int] = []
    waiting = [root]
    while waiting:
        for child, leaf in _children(nodes, waiting.pop()):
            (found if leaf else waiting).append(child)
    return found


def _target(nodes: Nodes, leaves: list[int]) -> int:
    """Return the output that a tree of these leaves adds to; -1 if they add to several."""
    found = {int(nodes.targets[leaf]) for leaf in leaves}
    return found.pop() if len(found) == 1 else -1
