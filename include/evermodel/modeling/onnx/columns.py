"""The preprocessing of a pipeline: which code each category has, and the matrix that the estimator sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from evermodel.modeling.onnx.encoding import Codes
from evermodel.modeling.onnx.graph import INPUT, Graph, NotExportableError

# No data holds this, so every encoder answers with what it does for a category it never saw.
_NEVER_SEEN = "\0never seen in training"


@dataclass(frozen=True)
class Columns:
    """A graph that has computed the estimator's input.

    Parameters
    ----------
    matrix
        Name of the value that holds the matrix.
    """

    graph: Graph
    matrix: str
    codes: dict[str, Codes]


def column_stage(transformer: Any) -> Columns:
    """Build the graph of a fitted `ColumnTransformer`, whose blocks stand side by side in its output.

    Raises
    ------
    NotExportableError
        A block is of a kind that has no graph.
    """
    names = [str(name) for name in transformer.feature_names_in_]
    graph = Graph(len(names))
    codes: dict[str, Codes] = {}
    blocks: list[str] = []
    for _, block, chosen in transformer.transformers_:
        if len(chosen) == 0 or block == "drop":
            continue
        places = [names.index(str(name)) for name in chosen]
        blocks += _block(graph, block, [str(name) for name in chosen], places, codes)
    matrix = blocks[0] if len(blocks) == 1 else graph.add("Concat", *blocks, axis=1)
    return Columns(graph, matrix, codes)


def _block(
    graph: Graph, block: Any, names: list[str], places: list[int], codes: dict[str, Codes]
) -> Iterator[str]:
    kind = type(block).__name__
    if kind == "str" or (kind == "FunctionTransformer" and block.func is None):
        yield graph.pick(INPUT, places)
    elif kind == "OrdinalEncoder":
        codes |= codes_of(block, names)
        yield graph.pick(INPUT, places)
    elif kind == "OneHotEncoder":
        for name, place, table in zip(names, places, _tables(block, names), strict=True):
            codes[name] = Codes(
                {category: float(code) for code, category in enumerate(table.known)},
                float(len(table.known)),
                float(len(table.known) + 1),
            )
            yield _looked_up(graph, place, [*table.known.values(), table.missing, table.unknown])
    elif kind == "Pipeline":
        yield _numbers(graph, graph.pick(INPUT, places), [step for _, step in block.steps])
    else:
        raise NotExportableError(f"the preprocessing step {kind} has no graph")


def codes_of(encoder: Any, names: list[str]) -> dict[str, Codes]:
    """Return the codes that a fitted `OrdinalEncoder` gives to the categories of its features."""
    return {
        name: Codes({c: row[0] for c, row in table.known.items()}, table.missing[0], table.unknown[0])
        for name, table in zip(names, _tables(encoder, names), strict=True)
    }


def _numbers(graph: Graph, value: str, steps: list[Any]) -> str:
    for step in steps:
        kind = type(step).__name__
        if kind == "SimpleImputer":
            value = _imputed(graph, value, step)
        elif kind == "StandardScaler":
            if step.mean_ is not None:
                value = graph.add("Sub", value, graph.constant([step.mean_]))
            if step.scale_ is not None:
                value = graph.add("Div", value, graph.constant([step.scale_]))
        else:
            raise NotExportableError(f"the preprocessing step {kind} has no graph")
    return value


def _imputed(graph: Graph, value: str, imputer: Any) -> str:
    from onnx import TensorProto

    statistics = np.asarray(imputer.statistics_, dtype=np.float64)
    if np.isnan(statistics).any():
        raise NotExportableError("a numeric feature had no value in training")
    absent = graph.add("IsNaN", value)
    filled = graph.add("Where", absent, graph.constant([statistics]), value)
    if imputer.indicator_ is None or len(imputer.indicator_.features_) == 0:
        return filled
    flags = graph.pick(graph.add("Cast", absent, to=TensorProto.DOUBLE), imputer.indicator_.features_)
    return graph.add("Concat", filled, flags, axis=1)


def _looked_up(graph: Graph, place: int, rows: list[list[float]]) -> str:
    from onnx import TensorProto

    code = graph.add(
        "Cast",
        graph.add("Squeeze", graph.pick(INPUT, [place]), graph.constant([1], np.int64)),
        to=TensorProto.INT64,
    )
    return graph.add("Gather", graph.constant(rows), code, axis=0)


@dataclass(frozen=True)
class _Table:
    """What an encoder makes of each value of one feature."""

    known: dict[str, list[float]]
    missing: list[float]
    unknown: list[float]


def _tables(encoder: Any, names: list[str]) -> Iterator[_Table]:
    """Ask the encoder itself, one feature after another, the other features held still."""
    import pandas as pd

    widths = getattr(encoder, "_n_features_outs", [1] * len(names))
    still = [next((c for c in found if isinstance(c, str)), None) for found in encoder.categories_]
    start = 0
    for place, (found, width) in enumerate(zip(encoder.categories_, widths, strict=True)):
        known = [category for category in found if isinstance(category, str)]
        asked = [*known, None, _NEVER_SEEN]
        frame = pd.DataFrame({name: [still[at]] * len(asked) for at, name in enumerate(names)}, dtype=object)
        frame[names[place]] = pd.Series(asked, dtype=object)
        answers = np.asarray(encoder.transform(frame), dtype=np.float64)[:, start : start + width]
        *rows, missing, unknown = answers.tolist()
        yield _Table(dict(zip(known, rows, strict=True)), missing, unknown)
        start += width
