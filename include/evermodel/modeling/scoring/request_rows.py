"""Parses requests into rows that a model can score; an error names the row and the field."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from evermodel.core.errors import PermanentError

Row = tuple[float | str | None, ...]

_NUMERIC_TYPES = ("double", "float", "long", "integer", "boolean")
_MOST_PROBLEMS = 10
_ABSENT = object()
# Larger numbers overflow when they are scaled, added or multiplied, or computed in 32 bits.
LARGEST = 1e30
# The range of integer ids, and the longest text; floats above `_EXACT` are not exact.
SMALLEST_ID, LARGEST_ID = -(2**63), 2**63 - 1
LONGEST_ID = 256
_EXACT = 2**53
_GZIP = b"\x1f\x8b"


class RequestRefusedError(PermanentError):
    """A request that cannot be answered as sent.

    Parameters
    ----------
    status
        HTTP status of the response.
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
        """Read the inputs of a model's signature, as `evermodel.modeling.model_store.LoadedModel` has them."""
        names = tuple(str(column["name"]) for column in columns)
        numeric = (str(c["name"]) for c in columns if c.get("type") in _NUMERIC_TYPES)
        return cls(names, frozenset(numeric))

    @cached_property
    def readers(self) -> tuple[tuple[str, Callable[[Any], float | str | None]], ...]:
        """Each feature, with the function that checks its values."""
        return tuple((name, _number if name in self.numeric else _category) for name in self.names)

    @property
    def categorical(self) -> tuple[str, ...]:
        """The features that hold strings, in order."""
        return tuple(name for name in self.names if name not in self.numeric)

    def described(self) -> list[dict[str, str]]:
        """Return name and JSON type of each feature."""
        return [{"name": n, "type": "number" if n in self.numeric else "string"} for n in self.names]


class ParsedRows(NamedTuple):
    """The rows of one request, and the id of each; None for a row without one."""

    rows: list[Row]
    own_ids: list[str | None]

    def ids(self, request_id: str) -> list[str]:
        """Return the ids that join the rows with their labels; a row without one gets an id from the request's."""
        return [f"{request_id}-{place}" if own is None else own for place, own in enumerate(self.own_ids)]


def parse_rows(body: bytes, inputs: Inputs, max_rows: int, id_column: str) -> ParsedRows:
    """Parse and check the body of a prediction request.

    Parameters
    ----------
    body
        JSON: ``{"rows": [{feature: value, ...}, ...]}`` or ``{"row": {...}}``.
    inputs
        The features of the version that answers.
    max_rows
        Most rows of one request.
    id_column
        Name of a row's id, which is optional.

    Returns
    -------
    One tuple for each row, in the order of the features: floats (NaN for null) and strings (None for null); and the
    ids, as text.

    Raises
    ------
    RequestRefusedError
        The body is not valid (422), is compressed (415), or has too many rows (413).
    """
    found = _rows_of(_decode(body))
    if not found:
        raise RequestRefusedError(422, "rows: the list is empty", "send at least one row")
    if len(found) > max_rows:
        raise RequestRefusedError(
            413,
            f"rows: {len(found)} rows are more than the {max_rows} that one request may have",
            "send them in several requests",
        )
    problems: list[str] = []
    parsed = ParsedRows([], [])
    for index, row in enumerate(found):
        values, own = _checked(index, row, inputs, id_column, problems)
        parsed.rows.append(values)
        parsed.own_ids.append(own)
        if len(problems) >= _MOST_PROBLEMS:
            problems = [*problems[:_MOST_PROBLEMS], "the following rows were not checked"]
            break
    if problems:
        raise RequestRefusedError(422, "; ".join(problems))
    return parsed


def _decode(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _decode_leniently(body)


def _decode_leniently(body: bytes) -> Any:
    """Parse values that strict JSON does not allow, such as NaN, so that the error can name the field."""
    if body[:2] == _GZIP:
        raise RequestRefusedError(415, "the body is compressed", "send uncompressed JSON")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise RequestRefusedError(
            422, f"the body is not valid JSON: {reason}", 'send {"rows": [{"feature": value, ...}]}'
        ) from None


def _rows_of(data: object) -> list[Any]:
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


def _checked(
    index: int, row: object, inputs: Inputs, id_column: str, problems: list[str]
) -> tuple[Row, str | None]:
    if not isinstance(row, dict):
        problems.append(f"row {index}: must be an object of features, not {_kind(row)}")
        return (), None
    values: list[float | str | None] = []
    for name, read in inputs.readers:
        value: Any = row.get(name, _ABSENT)
        if value is _ABSENT:
            problems.append(f"row {index}: {name}: is missing (send null if the value is unknown)")
            continue
        try:
            values.append(read(value))
        except ValueError as error:
            problems.append(f"row {index}: {name}: {error}")
    own = _own_id(index, row, inputs, id_column, problems) if id_column in row else None
    beside = 1 if own is not None and id_column not in inputs.names else 0
    if len(row) > len(values) + beside:  # an unknown name, possibly in place of a missing one
        known = {*inputs.names, id_column}
        problems.extend(_unknown(index, name, inputs, id_column) for name in row if name not in known)
    return tuple(values), own


def _own_id(
    index: int, row: dict[str, Any], inputs: Inputs, id_column: str, problems: list[str]
) -> str | None:
    try:
        return _identity(row[id_column])
    except ValueError as error:
        # An older version may have a feature of this name, whose values need not be ids.
        if id_column not in inputs.names:
            problems.append(f"row {index}: {id_column}: {error}")
        return None


def _identity(value: Any) -> str:
    """Return an id as text, in the form of the labels' ids."""
    if isinstance(value, str):
        if not 0 < len(value) <= LONGEST_ID:
            raise ValueError(f"must have 1 to {LONGEST_ID} characters")
        _check_unicode(value)
        return value
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool):
        raise ValueError("must be a string or a whole number; omit it if the row has no id")
    if not SMALLEST_ID <= value <= LARGEST_ID or (isinstance(value, float) and abs(value) > _EXACT):
        raise ValueError("is too large for a number; send it as a string")
    return str(int(value))


def _number(value: object) -> float:
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


def _category(value: object) -> str | None:
    if type(value) is str and value.isascii():
        return value
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"must be a string or null, not {_kind(value)}")
    _check_unicode(value)
    return value


def _check_unicode(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"is not valid Unicode: {value[:40]!r}") from None


def _unknown(index: int, name: str, inputs: Inputs, id_column: str) -> str:
    near = difflib.get_close_matches(name, [*inputs.names, id_column], n=1, cutoff=0.5)
    features = ", ".join(inputs.names)
    hint = f"; did you mean {near[0]}?" if near else f" (features: {features}; id: {id_column})"
    shown = repr(name) if len(name) <= 60 else repr(name[:57] + "...")
    return f"row {index}: {shown}: is not a feature{hint}"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, str):
        return f"the string {value[:40]!r}"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "an object"
