"""Columns of any type as numbers, and times as days."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

    Values = TypeVar("Values", pa.Array[Any], pa.ChunkedArray[Any])

_DAY = 86_400_000_000


def as_numbers(values: pa.Array[Any]) -> tuple[pa.Array[Any], str]:
    """Turn a column into numbers, and say what was odd about them: booleans are 0 and 1, times are microseconds; non-numeric text is missing."""
    import pyarrow as pa

    kind = values.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return values.cast(pa.float64(), safe=False), ""
    if pa.types.is_dictionary(kind):
        return as_numbers(values.cast(kind.value_type))
    if pa.types.is_date(kind):
        values = values.cast(pa.timestamp("us"))
    if pa.types.is_temporal(kind):
        width = pa.int32() if values.type.bit_width == 32 else pa.int64()
        return values.cast(width).cast(pa.float64(), safe=False), ""
    try:
        return values.cast(pa.float64(), safe=False), ""
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _parsed(values)


def to_numpy(values: pa.ChunkedArray[Any]) -> NDArray[np.float64]:
    """Return float64 numbers with not-a-number for nulls; Arrow's own conversion would import pandas."""
    return np.concatenate([np.empty(0), *(_unpacked(chunk) for chunk in values.chunks)])


def _unpacked(chunk: pa.Array[Any]) -> NDArray[np.float64]:
    buffers: list[Any] = chunk.buffers()  # the stubs do not know that numpy reads them
    bits, data = buffers
    first, last = chunk.offset, chunk.offset + len(chunk)
    found: NDArray[np.float64] = np.frombuffer(data, np.float64, last)[first:] if len(chunk) else np.empty(0)
    if chunk.null_count == 0:
        return found
    known = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little", count=last)[first:]
    return np.where(known == 1, found, math.nan)


def named(pieces: Sequence[pa.Array[Any]]) -> NDArray[np.float64]:
    """Return numbers that stand for names, everywhere the same ones; not-a-number for nulls."""
    values = [value for piece in pieces for value in piece.to_pylist()]
    numbers = {value: _hashed(str(value)) for value in set(values) if value is not None}
    return np.array([numbers.get(value, math.nan) for value in values], dtype=np.float64)


def taken(values: Values, places: NDArray[np.intp]) -> Values:
    """Return the values at some places; Arrow would import pandas to read them from numpy."""
    import pyarrow as pa

    where = np.ascontiguousarray(places, dtype=np.int64)
    return values.take(pa.Array.from_buffers(pa.int64(), len(where), [None, pa.py_buffer(where.data)]))


def days_of(times: pa.ChunkedArray[Any]) -> NDArray[np.int64]:
    """Return the day (UTC, counted from 1970) of each time; a row without a time counts to the last day."""
    import pyarrow as pa

    stamps = to_numpy(
        times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).cast(pa.float64(), safe=False)
    )
    unknown = np.isnan(stamps)
    if unknown.any():
        stamps[unknown] = 0.0 if unknown.all() else np.nanmax(stamps)
    return np.floor_divide(stamps, _DAY).astype(np.int64)


def nulls(rows: int, numeric: bool) -> pa.Array[Any]:
    """Return a column without a value."""
    import pyarrow as pa

    return pa.nulls(rows, pa.float64() if numeric else pa.string())


def _hashed(name: str) -> float:
    """Return a whole number that a float64 holds exactly."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") >> 11)


def _parsed(values: pa.Array[Any]) -> tuple[pa.Array[Any], str]:
    import pyarrow as pa

    found = [_number(value) for value in values.to_pylist()]
    bad = next(
        (v for v, n in zip(values.to_pylist(), found, strict=True) if v is not None and n is None), None
    )
    note = "" if bad is None else f"{values.type} instead of numbers, such as {str(bad)[:20]!r}"
    return pa.array(found, pa.float64()), note


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number
