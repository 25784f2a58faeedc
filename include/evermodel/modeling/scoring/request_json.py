"""The rows of a request's JSON, parsed in pieces, so that no body holds the interpreter for long."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from typing import Any

import orjson

from evermodel.core.errors import PermanentError

PIECE = 32_768
# A longer piece is one long row; it has no more commas and brackets than these and two for each feature.
_MOST_MARKS = 20_000
_COMMA = re.compile(rb"\s*,")
_GZIP = b"\x1f\x8b"
_SEND = 'send {"rows": [{"feature": value, ...}]}'
# JSON that is parsed at once, not row by row, holds the interpreter for less than 5 ms with so many.
MOST_MARKS = 50_000
# Called after each piece of a large body's work, where somebody waits for the interpreter.
TURN: ContextVar[Callable[[], None]] = ContextVar("TURN", default=lambda: None)


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


@cache
def _start_of(field: str) -> re.Pattern[bytes]:
    return re.compile(rb'\s*\{\s*"%b"\s*:\s*\[' % field.encode())


def pieces_of(body: bytes, features: int, field: str = "rows") -> Iterator[list[Any]]:
    """Parse the rows of a body piece by piece, each of about `PIECE` bytes or of one longer row.

    Parameters
    ----------
    body
        JSON: ``{"rows": [row, ...]}`` or ``{"row": row}``.
    features
        Number of features of a row.
    field
        The field of the rows, where it is another one than ``rows``; such a body has no single ``row``.

    Raises
    ------
    RequestRefusedError
        The body is not valid JSON (422), is compressed (415), or has a row with too many values (413).
    """
    most = _MOST_MARKS + 2 * features
    start = _start_of(field).match(body) if len(body) > PIECE else None
    if start is None:
        yield _rows_of(_decode(body, most), field)
        return
    place = start.end()
    while found := _piece(body, place, most):
        rows, end = found
        yield rows
        TURN.get()()
        place = end
    yield _rows_of(_decode(b'{"%b":[%b' % (field.encode(), body[place:]), most), field)


def _piece(body: bytes, place: int, most: int) -> tuple[list[Any], int] | None:
    """Return the next rows and the place after their comma; None if they are the last."""
    size, end, problem = PIECE, 0, None
    while end := body.find(b"}", max(place + size, end)) + 1:
        try:
            # The text starts where a row starts: if it is a list, it ends where a row ends.
            rows = _decode(b"[%b]" % body[place:end], most)
        except RequestRefusedError as error:
            if error.status != 422:
                raise problem or error from None
            problem = problem or error
            size *= 2
        else:
            comma = _COMMA.match(body, end)
            return (rows, comma.end()) if comma else None
    if problem is not None and _too_many(body[place:], most):
        raise problem
    return None


def _too_many(text: bytes, most: int) -> bool:
    if len(text) <= 2 * PIECE:
        return False
    marks = 0
    for start in range(0, len(text), PIECE):  # to count them all at once holds the interpreter for 1 ms
        marks += sum(map(text[start : start + PIECE].count, (b",", b"[", b"{")))
        if marks > most:
            return True
    return False


def _decode(text: bytes, most: int) -> Any:
    if _too_many(text, most):
        raise RequestRefusedError(
            413,
            f"a row is longer than {PIECE} bytes and holds more than {most} commas and brackets",
            "send the features of the model only",
        )
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if text[:2] == _GZIP:
            raise RequestRefusedError(415, "the body is compressed", "send uncompressed JSON") from None
        if len(text) > 2 * PIECE:
            raise _not_json(str(error)) from None
    try:  # with values that strict JSON does not allow, such as NaN, so that the error can name the field
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(
            "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        ) from None


def _not_json(reason: str) -> RequestRefusedError:
    return RequestRefusedError(422, f"the body is not valid JSON: {reason}", _SEND)


def _rows_of(data: object, field: str) -> list[Any]:
    if not isinstance(data, dict) or len(data) != 1 or next(iter(data)) not in (field, "row"):
        raise RequestRefusedError(422, f"the body must be an object with the one field `{field}`", _SEND)
    if field not in data:
        return [data["row"]]
    if not isinstance(data[field], list):
        raise RequestRefusedError(422, f"{field}: must be a list of objects", _SEND)
    rows: list[Any] = data[field]
    return rows


def decode_whole(body: bytes, advice: str, *, loose: bool = False) -> dict[str, Any]:
    """Parse a JSON object at once; beyond 64 KB it may hold `MOST_MARKS` commas and brackets.

    ``NaN`` and ``Infinity``, which strict JSON does not have, are read in bodies of up to 64 KB, so that an error can
    name their place.

    Parameters
    ----------
    advice
        What to send instead of a body that is refused.
    loose
        Read them in larger bodies too, of up to half as many commas and brackets.

    Raises
    ------
    RequestRefusedError
        The body is not a JSON object (422), is compressed (415), or holds too many values (413).
    """
    if _too_many(body, MOST_MARKS):
        problem = f"the JSON is longer than 64 KB and holds more than {MOST_MARKS} commas and brackets"
        raise RequestRefusedError(413, problem, advice)
    try:
        found = _decode(body, MOST_MARKS)
    except RequestRefusedError as error:
        if error.status != 422:
            raise
        if not loose or len(body) <= 2 * PIECE or _too_many(body, MOST_MARKS // 2):
            raise RequestRefusedError(422, error.problem, advice) from None
        found = _loose(body, advice)
    if not isinstance(found, dict):
        raise RequestRefusedError(422, "the body must be a JSON object", advice)
    return found


def _loose(body: bytes, advice: str) -> Any:
    try:
        return json.loads(body, parse_int=float)  # integers of many digits take long
    except (ValueError, RecursionError) as error:
        raise RequestRefusedError(422, f"the body is not valid JSON: {str(error)[:200]}", advice) from None
