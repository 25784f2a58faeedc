"""The rows of a request's JSON, parsed in pieces, so that no body holds the interpreter for long."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from evermodel.core.errors import PermanentError

PIECE = 32_768
# A longer piece is one long row; it has no more commas and brackets than these and two for each feature.
_MOST_MARKS = 20_000
_START = re.compile(rb'\s*\{\s*"rows"\s*:\s*\[')
_COMMA = re.compile(rb"\s*,")
_GZIP = b"\x1f\x8b"
_SEND = 'send {"rows": [{"feature": value, ...}]}'


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


def pieces_of(body: bytes, features: int) -> Iterator[list[Any]]:
    """Parse the rows of a body piece by piece, each of about `PIECE` bytes or of one longer row.

    Parameters
    ----------
    body
        JSON: ``{"rows": [row, ...]}`` or ``{"row": row}``.
    features
        Number of features of a row.

    Raises
    ------
    RequestRefusedError
        The body is not valid JSON (422), is compressed (415), or has a row with too many values (413).
    """
    most = _MOST_MARKS + 2 * features
    start = _START.match(body) if len(body) > PIECE else None
    if start is None:
        yield _rows_of(_decode(body, most))
        return
    place = start.end()
    while found := _piece(body, place, most):
        rows, end = found
        yield rows
        place = end
    yield _rows_of(_decode(b'{"rows":[' + body[place:], most))


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
    return len(text) > 2 * PIECE and sum(map(text.count, (b",", b"[", b"{"))) > most


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


def _rows_of(data: object) -> list[Any]:
    if not isinstance(data, dict) or len(data) != 1 or next(iter(data)) not in ("rows", "row"):
        raise RequestRefusedError(422, "the body must be an object with the one field `rows`", _SEND)
    if "row" in data:
        return [data["row"]]
    if not isinstance(data["rows"], list):
        raise RequestRefusedError(422, "rows: must be a list of objects", _SEND)
    rows: list[Any] = data["rows"]
    return rows
