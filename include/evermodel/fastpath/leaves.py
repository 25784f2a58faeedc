"""Many rows through many small trees without walking them: each column rules out leaves, and one is left in each tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evermodel.fastpath.encoding import Column
from evermodel.fastpath.intervals import Intervals

_LEQ, _MEMBER = 0, 6
_BLOCK = 1024  # rows at a time: their masks stay in the cache; with fewer, threads wait for each other
_MOST_BYTES = 400  # of masks per tree and row; with more, walking the trees is faster
_MOST_TABLE = 64 * 2**20
_MOST_JOINED = (
    2**20
)  # bytes of masks of columns that are looked up together: they stay in the processor's cache
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
    """Trees as masks of leaves (the method of QuickScorer, Lucchese et al., SIGIR 2015), in NumPy.

    For each column and each interval between two thresholds there is a row of masks, one a tree, whose bits are the
    leaves that such a value still allows. The masks of a row's values are combined by AND; the first leaf that is left
    is the row's. Columns with few intervals are looked up together. The sums are those of the trees up to the order of
    addition.

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
        self._starts = starts
        self._intervals = {column: Intervals(found) for column, found in cuts.items()}
        self._groups = [_joined(group, tables) for group in _groups(tables)]
        self._weights = weights.ravel()
        self._trees, self._bits = weights.shape
        self._first = (np.arange(self._trees) * self._bits).astype(
            np.uint32 if self._bits == 32 else np.uint64
        )

    def run(self, columns: Sequence[Column], rows: int) -> NDArray[np.float64]:
        """Return what the trees add up for the columns of their input: rows x outputs."""
        sums = np.empty((rows, len(self._starts)))
        kind = np.uint32 if self._bits == 32 else np.uint64
        left, allowed = (np.empty((_BLOCK, self._trees), kind) for _ in range(2))
        place, weight = np.empty((_BLOCK, self._trees), np.intp), np.empty((_BLOCK, self._trees))
        places = [self._places(group, columns) for group, _ in self._groups]
        for start in range(0, rows, _BLOCK):
            end = min(rows, start + _BLOCK)
            block = slice(0, end - start)
            self._leaves([found[start:end] for found in places], left[block], allowed[block])
            np.add(left[block], self._first, out=left[block])
            np.copyto(place[block], left[block], casting="unsafe")
            self._weights.take(place[block], out=weight[block], mode="clip")
            np.add.reduceat(weight[block], self._starts, axis=1, out=sums[start:end])
        return sums

    def _places(self, group: Sequence[int], columns: Sequence[Column]) -> NDArray[np.intp]:
        """Return the row of a joined table for each row of the columns."""
        found: NDArray[np.intp] | None = None
        for number in group:
            column, intervals = columns[number], self._intervals[number]
            mine = intervals.of(column.values)
            if column.places is not None:
                mine = mine.take(column.places)
            found = mine if found is None else found * len(intervals) + mine
        assert found is not None
        return found

    def _leaves(self, places: Sequence[NDArray[np.intp]], left: NDArray[Any], allowed: NDArray[Any]) -> None:
        """Leave the pattern of each tree's leaf in `left`."""
        first = True
        for found, (_, table) in zip(places, self._groups, strict=True):
            table.take(found, axis=0, out=left if first else allowed, mode="clip")
            if not first:
                np.bitwise_and(left, allowed, out=left)
            first = False
        np.negative(left, out=allowed)
        np.bitwise_and(left, allowed, out=left)
        factor, shift = _DE_BRUIJN[self._bits]
        np.multiply(left, left.dtype.type(factor), out=left)
        np.right_shift(left, left.dtype.type(shift), out=left)


def _groups(tables: Mapping[int, NDArray[Any]]) -> list[list[int]]:
    """Put columns together as long as their joined table is small, the largest first."""
    groups: list[list[int]] = []
    sizes: list[int] = []
    for column in sorted(tables, key=lambda c: -len(tables[c])):
        table = tables[column]
        most = _MOST_JOINED // table[0].nbytes
        fitting = (place for place, size in enumerate(sizes) if size * len(table) <= most)
        place = next(fitting, None)
        if place is None:
            groups.append([column])
            sizes.append(len(table))
        else:
            groups[place].append(column)
            sizes[place] *= len(table)
    return groups


def _joined(group: Sequence[int], tables: Mapping[int, NDArray[Any]]) -> tuple[Sequence[int], NDArray[Any]]:
    """Return the columns and their table, which has a row for each combination of their intervals."""
    joined = tables[group[0]]
    for column in group[1:]:
        joined = (joined[:, None] & tables[column][None]).reshape(-1, joined.shape[1])
    return group, joined


def leaf_masks(nodes: Nodes) -> LeafMasks | None:
    """Build the masks; None where walking the trees is faster, or a tree has more than 64 leaves."""
    largest = max(len(_leaves_of(nodes, root)) for root in nodes.roots)
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
    targets = [_target(nodes, root) for root in nodes.roots]
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


class _Tree:
    """Writes one tree into the tables."""

    def __init__(
        self,
        nodes: Nodes,
        place: int,
        bits: int,
        passes: dict[int, Callable[[int], NDArray[np.bool_]]],
        tables: dict[int, NDArray[Any]],
        weights: NDArray[np.float64],
    ) -> None:
        self.nodes, self.place, self.bits = nodes, place, bits
        self.passes, self.tables, self.weights = passes, tables, weights
        self.leaves = 0

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
            return np.append(cuts <= nodes.splits[node], nodes.missing[node])

        return cuts, below
    members = np.unique(np.concatenate([nodes.members.get(int(node), np.empty(0)) for node in mine]))
    if modes != {_MEMBER} or not np.array_equal(members, np.round(members)):
        return None
    # Codes are whole numbers: each has an interval of its own, and what lies between two stands for no code.
    cuts = np.unique(np.concatenate([members - 0.5, members + 0.5, [np.inf]]))
    codes = cuts - 0.5

    def within(node: int) -> NDArray[np.bool_]:
        return np.append(np.isin(codes, nodes.members[node]), nodes.missing[node])

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


def _target(nodes: Nodes, root: int) -> int:
    """Return the output that a tree adds to; -1 if its leaves add to several."""
    found = {int(nodes.targets[leaf]) for leaf in _leaves_of(nodes, root)}
    return found.pop() if len(found) == 1 else -1
