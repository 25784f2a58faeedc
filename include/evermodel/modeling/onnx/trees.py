"""Decision trees as one ONNX TreeEnsemble in float64 (ai.onnx.ml, version 5)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_LESS_OR_EQUAL, _MEMBER = 0, 6
_NEVER = -1.0  # a code that no category has: an empty set is not allowed


@dataclass(frozen=True)
class TreeSplit:
    """An inner node: rows whose value is at most ``threshold`` (or in ``members``) go left."""

    feature: int
    left: int
    right: int
    missing_left: bool
    threshold: float = 0.0
    members: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Leaf:
    """A leaf: what it adds to one output or, as a vector, to each of them."""

    values: tuple[float, ...]
    target: int = 0


Node = TreeSplit | Leaf


@dataclass
class Forest:
    """Trees collected into the attributes of one node."""

    targets: int
    _nodes: list[tuple[int, int, float, int]] = field(
        default_factory=list
    )  # feature, mode, threshold, missing
    _branches: list[list[tuple[int, int]]] = field(default_factory=list)  # (index, is leaf) of left and right
    _leaves: list[tuple[float, int]] = field(default_factory=list)
    _members: dict[int, tuple[float, ...]] = field(default_factory=dict)
    _roots: list[int] = field(default_factory=list)

    def add(self, node: Callable[[int], Node], output: int | None = None) -> None:
        """Add a tree.

        Parameters
        ----------
        node
            Returns a node by its number; 0 is the root.
        output
            Which value of a leaf's vector this copy of the tree adds; None for leaves with one value.
        """
        root = node(0)
        if isinstance(root, Leaf):  # a tree must have a split: both sides lead to the same leaf
            leaf = self._leaf(root, output)
            self._roots.append(self._inner(TreeSplit(0, 0, 0, missing_left=False)))
            self._branches[-1] = [leaf, leaf]
            return
        self._roots.append(self._grow(node, root, output))

    def _grow(self, node: Callable[[int], Node], root: TreeSplit, output: int | None) -> int:
        start = self._inner(root)
        waiting = [(start, root)]
        while waiting:
            place, split = waiting.pop()
            for child in (split.left, split.right):
                found = node(child)
                if isinstance(found, Leaf):
                    self._branches[place].append(self._leaf(found, output))
                else:
                    grown = self._inner(found)
                    self._branches[place].append((grown, 0))
                    waiting.append((grown, found))
        return start

    def _inner(self, split: TreeSplit) -> int:
        mode = _LESS_OR_EQUAL if split.members is None else _MEMBER
        self._nodes.append((split.feature, mode, split.threshold, int(split.missing_left)))
        self._branches.append([])
        if split.members is not None:
            self._members[len(self._nodes) - 1] = split.members or (_NEVER,)
        return len(self._nodes) - 1

    def _leaf(self, leaf: Leaf, output: int | None) -> tuple[int, int]:
        value, target = (leaf.values[0], leaf.target) if output is None else (leaf.values[output], output)
        self._leaves.append((value, target))
        return len(self._leaves) - 1, 1

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of the TreeEnsemble."""
        from onnx import numpy_helper

        def tensor(values: Sequence[float], kind: Any = np.float64) -> Any:
            return numpy_helper.from_array(np.array(values, dtype=kind))

        features, modes, thresholds, missing = (list(part) for part in zip(*self._nodes, strict=True))
        members = [value for _, found in sorted(self._members.items()) for value in (*found, math.nan)]
        sets = {"membership_values": tensor(members)} if members else {}
        return {
            "aggregate_function": 1,
            "post_transform": 0,
            "n_targets": self.targets,
            "tree_roots": self._roots,
            "nodes_splits": tensor(thresholds),
            "nodes_featureids": features,
            "nodes_modes": tensor(modes, np.uint8),
            "nodes_missing_value_tracks_true": missing,
            "nodes_truenodeids": [left for (left, _), _ in self._branches],
            "nodes_trueleafs": [is_leaf for (_, is_leaf), _ in self._branches],
            "nodes_falsenodeids": [right for _, (right, _) in self._branches],
            "nodes_falseleafs": [is_leaf for _, (_, is_leaf) in self._branches],
            "leaf_weights": tensor([weight for weight, _ in self._leaves]),
            "leaf_targetids": [target for _, target in self._leaves],
            **sets,
        }


def boosting_node(predictor: Any, code_shift: int) -> Callable[[int], Node]:
    """Return the reader of one tree of histogram boosting; its leaf weights are final.

    Parameters
    ----------
    code_shift
        Added to category codes: ONNX Runtime is fastest with sets of 1 to 32.
    """
    nodes = predictor.nodes

    def read(number: int) -> Node:
        found = nodes[number]
        if found["is_leaf"]:
            return Leaf((float(found["value"]),))
        members = None
        if found["is_categorical"]:
            members = _members(predictor.raw_left_cat_bitsets[found["bitset_idx"]], code_shift)
        return TreeSplit(
            feature=int(found["feature_idx"]),
            left=int(found["left"]),
            right=int(found["right"]),
            missing_left=bool(found["missing_go_to_left"]),
            threshold=0.0 if members is not None else float(found["num_threshold"]),
            members=members,
        )

    return read


def forest_node(tree: Any, weight: Callable[[Any], Any]) -> Callable[[int], Node]:
    """Return the reader of one of scikit-learn's trees.

    Parameters
    ----------
    weight
        Turns a leaf's values into what it adds to each output.
    """

    def read(number: int) -> Node:
        left = int(tree.children_left[number])
        if left == -1:
            return Leaf(tuple(float(value) for value in weight(tree.value[number][0])))
        return TreeSplit(
            feature=int(tree.feature[number]),
            left=left,
            right=int(tree.children_right[number]),
            missing_left=bool(tree.missing_go_to_left[number]),
            threshold=float(tree.threshold[number]),
        )

    return read


def _members(bitset: Any, shift: int) -> tuple[float, ...]:
    words = [int(word) for word in bitset]
    return tuple(
        float(32 * i + b + shift) for i, word in enumerate(words) for b in range(32) if word >> b & 1
    )
