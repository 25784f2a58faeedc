"""Rows as one matrix of numbers: categories become codes by a lookup, so that the graph never sees text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from evermodel.data.dtypes import as_type
from evermodel.modeling.formulas import computed

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[float | str | None, ...]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EncodedColumn:
    """The values of one feature, each distinct one only once where they are few.

    Parameters
    ----------
    values
        Numbers or codes.
    places
        Of each row, the place of its value; None if the values are the rows' own.
    """

    values: NDArray[np.float64]
    places: NDArray[np.int32] | None = None

    def spread(self) -> NDArray[np.float64]:
        """Return the value of each row."""
        return self.values if self.places is None else self.values.take(self.places)


@dataclass(frozen=True)
class Codes:
    """The code of every category of one feature, as the trained encoder gives them.

    Parameters
    ----------
    known
        Code of each category seen in training.
    missing
        Code of no category (NaN where the model takes it for a missing number).
    unknown
        Code of a category that training never saw.
    """

    known: Mapping[str, float]
    missing: float
    unknown: float

    def of(self, value: str | None) -> float:
        """Return the code of a value."""
        return self.missing if value is None else self.known.get(value, self.unknown)


@dataclass(frozen=True)
class Encoding:
    """How rows become the graph's input.

    Parameters
    ----------
    names
        The features, in the order of the columns.
    codes
        The codes of the categorical ones; the others are numbers already.
    formulas
        What is computed of them, by name; the graph takes these columns after the features.
    """

    names: tuple[str, ...]
    codes: Mapping[str, Codes]
    formulas: Mapping[str, str] = field(default_factory=dict)

    def rows(self, rows: Sequence[Row]) -> Matrix:
        """Encode rows whose values are in the order of the features: floats (NaN if missing), strings or None."""
        values = [list(row) for row in rows]
        for place, code_of in self._coders:
            for row in values:
                row[place] = code_of(row[place])
        return np.array(values, dtype=np.float64).reshape(len(rows), len(self.names))

    def table(self, table: pa.Table) -> Matrix:
        """Encode an Arrow table; a null is a missing value."""
        matrix = np.empty((table.num_rows, len(self.names)))
        for place, name in enumerate(self.names):
            matrix[:, place] = self._column(name, table[name]).spread()
        return matrix

    def complete(self, matrix: Matrix) -> Matrix:
        """Return encoded rows with what formulas compute of them."""
        if not self.formulas:
            return matrix
        made = computed(self.formulas, {name: matrix[:, place] for place, name in enumerate(self.names)})
        return np.column_stack([matrix, *made.values()])

    def columns(self, table: pa.Table) -> list[EncodedColumn]:
        """Encode an Arrow table column by column, with what formulas compute of them."""
        found = [self._column(name, table[name]) for name in self.names]
        if not self.formulas:
            return found
        numbers = {
            name: one.values for name, one in zip(self.names, found, strict=True) if name not in self.codes
        }
        return [*found, *map(EncodedColumn, computed(self.formulas, numbers).values())]

    def _column(self, name: str, values: pa.ChunkedArray[Any]) -> EncodedColumn:
        import pyarrow as pa
        import pyarrow.compute as pc

        if name not in self.codes:
            return EncodedColumn(as_type(values, pa.float64()).to_numpy())
        known, codes = self._lookups[name]

        def places_of(texts: Any) -> Any:
            return pc.index_in(as_type(texts, pa.string()), value_set=known).fill_null(len(known)).to_numpy()

        if not pa.types.is_dictionary(values.type):
            return EncodedColumn(codes, places_of(values))
        coded = values.combine_chunks()
        assert isinstance(coded, pa.DictionaryArray)
        missing = len(coded.dictionary)
        distinct = np.append(codes[places_of(coded.dictionary)], self.codes[name].missing)
        return EncodedColumn(distinct, coded.indices.fill_null(missing).to_numpy())

    @cached_property
    def _lookups(self) -> dict[str, tuple[pa.Array[Any], NDArray[np.float64]]]:
        """The known categories and no category, and their codes, of which the last is the unknown ones'."""
        import pyarrow as pa

        return {
            name: (
                pa.array([*found.known, None], pa.string()),
                np.array([*found.known.values(), found.missing, found.unknown]),
            )
            for name, found in self.codes.items()
        }

    @cached_property
    def _coders(self) -> list[tuple[int, Callable[[Any], float]]]:
        return [(place, self.codes[name].of) for place, name in enumerate(self.names) if name in self.codes]

    def to_json(self) -> dict[str, Any]:
        """Return plain data; JSON has no NaN, so it is null there."""
        codes = {name: asdict(found) for name, found in self.codes.items()}
        for found in codes.values():
            found["known"] = {name: _plain(code) for name, code in found["known"].items()}
            found |= {side: _plain(found[side]) for side in ("missing", "unknown")}
        formulas = {"formulas": dict(self.formulas)} if self.formulas else {}
        return {"names": list(self.names), "codes": codes, **formulas}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Encoding:
        """Read what `to_json` wrote."""
        codes = {
            name: Codes(
                {category: _number(code) for category, code in found["known"].items()},
                _number(found["missing"]),
                _number(found["unknown"]),
            )
            for name, found in data["codes"].items()
        }
        return cls(tuple(data["names"]), codes, data.get("formulas", {}))


class FastPath(Protocol):
    """What answers without pandas: a graph, or a boosting library's own predictor; see `Exported` for the answers' shape."""

    @property
    def engine(self) -> Literal["onnx", "native"]:
        """What computes the answers."""

    @property
    def encoding(self) -> Encoding:
        """How rows become numbers."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the columns of the answers, for multiclass."""

    def answer(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Answer rows whose values are in the order of `Encoding.names`."""

    def answer_table(self, table: pa.Table) -> NDArray[np.float64]:
        """Answer the rows of an Arrow table."""

    def run(self, matrix: Matrix) -> NDArray[np.float64]:
        """Answer encoded rows, without what formulas compute of them."""


@dataclass(frozen=True)
class Exported:
    """A pipeline as a graph.

    Parameters
    ----------
    graph
        The serialized ONNX model: a float64 matrix in, answers out. Binary: rows x 1, the probability of the second
        class; multiclass: rows x classes; regression: rows x 1.
    classes
        Names of the columns of the answers, for multiclass.
    """

    graph: bytes
    encoding: Encoding
    classes: tuple[str, ...] = ()


def without_formulas(pipeline: Any) -> tuple[dict[str, str], Any]:
    """Return the formulas of a pipeline's first step, and the steps after it; none and all of it without such a step."""
    steps = getattr(pipeline, "steps", ())
    if not steps or type(steps[0][1]).__name__ != "RowExpressions":
        return {}, pipeline
    return steps[0][1].formulas, pipeline[1:]


def _plain(code: float) -> float | None:
    return None if math.isnan(code) else code


def _number(code: float | None) -> float:
    return math.nan if code is None else float(code)
