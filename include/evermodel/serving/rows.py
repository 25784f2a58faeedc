"""Requests turned into rows that a model can score, or refused with a message that names row and field."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from evermodel.errors import PermanentError

Row = tuple[float | str | None, ...]

_NUMERIC_TYPES = ("double", "float", "long", "integer", "boolean")
_MOST_PROBLEMS = 10
_ABSENT = object()
# Beyond it scaled numbers, sums and products overflow, and models that compute in 32 bits fail.
LARGEST = 1e30
_GZIP = b"\x1f\x8b"


class RequestRefusedError(PermanentError):
    """A request cannot be answered as it was sent.

    Parameters
    ----------
    status
        HTTP status of the answer.
    """

    def __init__(self, status: int, problem: str, advice: str = "") -> None:
        super().__init__(problem, advice)
        self.status = status


@dataclass(frozen=True)
class Inputs:
    """The features of one model version, in the order of its signature.

    Parameters
    ----------
    names
        All features.
    numeric
        The features that hold numbers; the others hold strings.
    """

    names: tuple[str, ...]
    numeric: frozenset[str]

    @classmethod
    def from_signature(cls, columns: Sequence[dict[str, Any]]) -> Inputs:
        """Read the inputs of a model's signature, as `evermodel.model_store.LoadedModel` has them."""
        names = tuple(str(column["name"]) for column in columns)
        numeric = (str(c["name"]) for c in columns if c.get("type") in _NUMERIC_TYPES)
        return cls(names, frozenset(numeric))

    @cached_property
    def readers(self) -> tuple[tuple[str, Callable[[Any], float | str | None]], ...]:
        """Each feature with the function that checks a value of it."""
        return tuple((name, _number if name in self.numeric else _category) for name in self.names)

    @property
    def categorical(self) -> tuple[str, ...]:
        """The features that hold strings, in order."""
        return tuple(name for name in self.names if name not in self.numeric)

    def described(self) -> list[dict[str, str]]:
        """Return name and JSON type of each feature."""
        return [{"name": n, "type": "number" if n in self.numeric else "string"} for n in self.names]


def parse_rows(body: bytes, inputs: Inputs, max_rows: int) -> list[Row]:
    """Read and check the body of a prediction request.

    Parameters
    ----------
    body
        JSON: ``{"rows": [{feature: value, ...}, ...]}`` or ``{"row": {...}}``.
    inputs
        The features of the model that will answer.
    max_rows
        Most rows of one request.

    Returns
    -------
    One tuple for each row, in the order of the features: floats (NaN for null) and strings (None for null).

    Raises
    ------
    RequestRefusedError
        The body is no JSON of this shape (422), or holds too many rows (413).
    """
    found = _rows_of(_decode(body))
    if not found:
        raise RequestRefusedError(422, "rows: the list is empty", "send at least one row")
    if len(found) > max_rows:
        raise RequestRefusedError(
            413,
            f"rows: {len(found)} rows, but one request may hold {max_rows}",
            "send them in several requests",
        )
    problems: list[str] = []
    rows: list[Row] = []
    for index, row in enumerate(found):
        rows.append(_checked(index, row, inputs, problems))
        if len(problems) >= _MOST_PROBLEMS:
            problems = [*problems[:_MOST_PROBLEMS], "and maybe more"]
            break
    if problems:
        raise RequestRefusedError(422, "; ".join(problems))
    return rows


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _decode_leniently(body)


def _decode_leniently(body: bytes) -> Any:
    """Read what strict JSON refuses, such as NaN, so that the refusal can name the field."""
    if body[:2] == _GZIP:
        raise RequestRefusedError(415, "the body is compressed", "send plain JSON")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RequestRefusedError(
            422, f"the body is not valid JSON: {reason}", 'send {"rows": [{"feature": value, ...}]}'
        ) from None


def _rows_of(data: Any) -> list[Any]:
    if not isinstance(data, dict) or len(data) != 1 or next(iter(data)) not in ("rows", "row"):
        raise RequestRefusedError(
            422,
            "the body must be an object with the one field `rows`",
            'send {"rows": [{"feature": value, ...}]}',
        )
    if "row" in data:
        return [data["row"]]
    if not isinstance(data["rows"], list):
        raise RequestRefusedError(
            422, "rows: must be a list of objects", 'send {"rows": [{"feature": value, ...}]}'
        )
    rows: list[Any] = data["rows"]
    return rows


def _checked(index: int, row: Any, inputs: Inputs, problems: list[str]) -> Row:
    if not isinstance(row, dict):
        problems.append(f"row {index}: must be an object of features, not {_kind(row)}")
        return ()
    values: list[float | str | None] = []
    for name, read in inputs.readers:
        value: Any = row.get(name, _ABSENT)
        if value is _ABSENT:
            problems.append(f"row {index}: {name}: is missing (null says that the value is unknown)")
            continue
        try:
            values.append(read(value))
        except ValueError as error:
            problems.append(f"row {index}: {name}: {error}")
    if len(row) > len(values):  # a name too many, or one that stands in the place of a missing one
        problems.extend(_unknown(index, name, inputs) for name in row if name not in inputs.names)
    return tuple(values)


def _number(value: Any) -> float:
    if type(value) is float and -LARGEST <= value <= LARGEST:
        return value
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number or null, not {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("must be a finite number or null")
    if abs(number) > LARGEST:
        raise ValueError(f"must be a number from -{LARGEST:g} to {LARGEST:g}, or null")
    return number


def _category(value: Any) -> str | None:
    if type(value) is str and value.isascii():
        return value
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"must be a string or null, not {_kind(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"is not valid Unicode: {value[:40]!r}") from None
    return value


def _unknown(index: int, name: str, inputs: Inputs) -> str:
    near = difflib.get_close_matches(name, inputs.names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else f" (the model has: {', '.join(inputs.names)})"
    shown = repr(name) if len(name) <= 60 else repr(name[:57] + "...")
    return f"row {index}: {shown}: there is no such feature{hint}"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "an object"
