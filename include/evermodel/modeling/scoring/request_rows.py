"""Parses requests into rows that a model can score; an error names the row and the field."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from evermodel.modeling.scoring.request_json import RequestRefusedError, pieces_of

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec

Row = tuple[float | str | None, ...]
Context = tuple[str | None, ...]

_NUMERIC_TYPES = ("double", "float", "long", "integer", "boolean")
_MOST_PROBLEMS = 10
KEY_HINT = "the features that are left out are looked up by it"
_LONGEST_SHOWN, _MOST_NAMED, _MOST_COMPARED = 60, 30, 30
_ABSENT = object()
# In the place of a feature that the request leaves out, until the serving app has looked it up.
LOOKED_UP: Any = type("LookedUp", (), {"__repr__": lambda _: "LOOKED_UP"})()
# Larger numbers overflow when they are scaled, added or multiplied, or computed in 32 bits.
LARGEST = 1e30
# The range of integer ids, and the longest text; floats above `_EXACT` are not exact.
SMALLEST_ID, LARGEST_ID = -(2**63), 2**63 - 1
LONGEST_ID = 256
_EXACT = 2**53


@dataclass(frozen=True)
class Inputs:
    """The features of one model version, in the order of its signature.

    Parameters
    ----------
    numeric
        The features that hold numbers; the others hold strings.
    context
        Columns of the spec that a row may have beside the features; they are logged, and no version sees them.
    looked_up
        Features that a row may leave out: it has `LOOKED_UP` in their place.
    keys
        Columns of the context by which they are looked up.
    """

    names: tuple[str, ...]
    numeric: frozenset[str]
    context: tuple[str, ...] = ()
    looked_up: frozenset[str] = frozenset()
    keys: tuple[str, ...] = ()

    @classmethod
    def from_signature(cls, columns: Sequence[dict[str, Any]], spec: ModelSpec) -> Inputs:
        """Read the inputs of a model's signature, as `evermodel.modeling.model_store.LoadedModel` has them."""
        names = tuple(str(column["name"]) for column in columns)
        numeric = (str(c["name"]) for c in columns if c.get("type") in _NUMERIC_TYPES)
        return cls.of(spec, names, frozenset(numeric))

    @classmethod
    def of(cls, spec: ModelSpec, names: tuple[str, ...], numeric: frozenset[str]) -> Inputs:
        """Return some features with what the spec says of requests."""
        keys = tuple(name for name in spec.entity_columns if name not in names) if spec.looked_up else ()
        return cls(names, numeric, spec.context, spec.looked_up.intersection(names), keys)

    @cached_property
    def readers(self) -> tuple[tuple[str, Callable[[Any], float | str | None]], ...]:
        """Each feature, with the function that checks its values."""
        return tuple((name, _number if name in self.numeric else _category) for name in self.names)

    @cached_property
    def known(self) -> frozenset[str]:
        """The names of all features and of the context, as a set."""
        return frozenset((*self.names, *self.context))

    @cached_property
    def beside(self) -> tuple[str, ...]:
        """The columns of the context that are no features of this version, as they may be of an older one."""
        return tuple(name for name in self.context if name not in self.names)

    @property
    def categorical(self) -> tuple[str, ...]:
        """The features that hold strings, in order."""
        return tuple(name for name in self.names if name not in self.numeric)

    def described(self) -> list[dict[str, str]]:
        """Return name and JSON type of each feature."""
        return [{"name": n, "type": "number" if n in self.numeric else "string"} for n in self.names]


class ParsedRows(NamedTuple):
    """The rows of one request, and the id of each; None for a row without one.

    Parameters
    ----------
    context
        The values of the context of each row, as text; empty for a model without one.
    """

    rows: list[Row]
    own_ids: list[str | None]
    context: list[Context]

    def ids(self, request_id: str) -> list[str]:
        """Return the ids that join the rows with their labels; a row without one gets an id from the request's."""
        return [f"{request_id}-{place}" if own is None else own for place, own in enumerate(self.own_ids)]


def parse_rows(body: bytes, inputs: Inputs, max_rows: int, id_column: str, field: str = "rows") -> ParsedRows:
    """Parse and check the body of a prediction request.

    Parameters
    ----------
    body
        JSON: ``{"rows": [{feature: value, ...}, ...]}`` or ``{"row": {...}}``.
    field
        The field of the rows; see `pieces_of`.

    Returns
    -------
    One tuple for each row, in the order of the features: floats (NaN for null) and strings (None for null); and the
    ids, as text.

    Raises
    ------
    RequestRefusedError
        The body is not valid (422), is compressed (415), or has too many rows (413).
    """
    parsed, problems = ParsedRows([], [], []), Problems()
    with suppress(EnoughError):
        for rows in pieces_of(body, len(inputs.known), field):
            check_count(len(parsed.rows) + len(rows), max_rows)
            for index, row in enumerate(rows, len(parsed.rows)):
                values, own = _checked(index, row, inputs, id_column, problems)
                parsed.rows.append(values)
                parsed.own_ids.append(own)
                if inputs.context:
                    parsed.context.append(_context_of(index, row, inputs, problems))
    problems.refuse()
    if not parsed.rows:
        raise RequestRefusedError(422, "rows: the list is empty", "send at least one row")
    return parsed


def check_count(rows: int, most: int) -> None:
    """Refuse more rows than one request may have (413)."""
    if rows > most:
        raise RequestRefusedError(
            413,
            f"rows: there are more than the {most} rows that one request may have",
            "send them in several requests",
        )


class EnoughError(Exception):
    """So many problems are known that the rest is not checked."""


class Problems(list[str]):
    """The first problems of a request."""

    hinted = False

    def append(self, problem: str) -> None:
        """Add a problem; after the last one that is shown, the check ends."""
        super().append(problem)
        if len(self) == _MOST_PROBLEMS:
            super().append("the rest was not checked")
            raise EnoughError

    def refuse(self) -> None:
        """Raise the problems as a refusal (422), if there are any."""
        if self:
            raise RequestRefusedError(422, "; ".join(self))


def _checked(
    index: int, row: object, inputs: Inputs, id_column: str, problems: Problems
) -> tuple[Row, str | None]:
    if not isinstance(row, dict):
        problems.append(f"row {index}: must be an object of features, not {_kind(row)}")
        return (), None
    values, left_out = _features_of(index, row, inputs, problems)
    own = _own_id(index, row, inputs, id_column, problems) if id_column in row else None
    beside = 1 if own is not None and id_column not in inputs.names else 0
    beside += sum(name in row for name in inputs.beside)
    if len(row) > len(values) - left_out + beside:  # an unknown name, possibly in place of a missing one
        for name in row:
            if name not in inputs.known and name != id_column:
                problems.append(f"row {index}: {unknown_name(name, inputs, id_column, problems)}")
    return tuple(values), own


def _features_of(
    index: int, row: dict[str, Any], inputs: Inputs, problems: Problems
) -> tuple[list[float | str | None], int]:
    """Return the values of the features, and how many of them are to be looked up."""
    values: list[float | str | None] = []
    left_out = 0
    for name, read in inputs.readers:
        value: Any = row.get(name, _ABSENT)
        if value is _ABSENT and name in inputs.looked_up:
            values.append(LOOKED_UP)
            left_out += 1
        elif value is _ABSENT:
            problems.append(f"row {index}: {name}: is missing (send null if the value is unknown)")
        else:
            try:
                values.append(read(value))
            except ValueError as error:
                problems.append(f"row {index}: {name}: {error}")
    for name in inputs.keys if left_out else ():
        if name not in row:
            problems.append(f"row {index}: {name}: is missing ({KEY_HINT})")
    return values, left_out


def _context_of(index: int, row: object, inputs: Inputs, problems: Problems) -> Context:
    if not isinstance(row, dict):
        return ()
    values: list[str | None] = []
    for name in inputs.context:
        try:
            values.append(text_of(row.get(name)) if name in inputs.beside else None)
        except ValueError as error:
            problems.append(f"row {index}: {name}: {error}")
    return tuple(values)


def text_of(value: Any) -> str | None:
    """Return a value of the context as the log keeps it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("must be a string, a whole number, a boolean or null")
    return identity_of(value)


def _own_id(
    index: int, row: dict[str, Any], inputs: Inputs, id_column: str, problems: Problems
) -> str | None:
    try:
        return identity_of(row[id_column])
    except ValueError as error:
        # An older version may have a feature of this name, whose values need not be ids.
        if id_column not in inputs.names:
            problems.append(f"row {index}: {id_column}: {error}")
        return None


def identity_of(value: Any) -> str:
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


def unknown_name(name: str, inputs: Inputs, id_column: str, problems: Problems) -> str:
    """Say that a name is none of a feature; the first one with the nearest feature."""
    shown = repr(name) if len(name) <= _LONGEST_SHOWN else repr(name[: _LONGEST_SHOWN - 3] + "...")
    if problems.hinted:
        return f"{shown}: is not a feature"
    problems.hinted = True
    near = nearest(name, [*inputs.names, *inputs.context, id_column])
    named = ", ".join((*inputs.names[:_MOST_NAMED], *["..."][: len(inputs.names) - _MOST_NAMED]))
    hint = f"; did you mean {near}?" if near else f" (features: {named}; id: {id_column})"
    return f"{shown}: is not a feature{hint}"


def nearest(name: str, names: Sequence[str]) -> str | None:
    """Return the name that a caller may have meant, at a cost that does not grow with what the caller sent.

    >>> nearest("distanse", ["origin", "distance"])
    'distance'
    """
    name = name[:_LONGEST_SHOWN]
    alike = (one for one in names if name[:1] == one[:1] or name[-2:] == one[-2:])
    near = difflib.get_close_matches(name, list(islice(alike, _MOST_COMPARED)), n=1, cutoff=0.5)
    return near[0] if near else None


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
