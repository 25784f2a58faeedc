"""Tensors of the Open Inference Protocol V2, with its binary extension, as columns of values and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from evermodel.modeling.scoring.request_json import RequestRefusedError
from evermodel.modeling.scoring.request_rows import check_count

_NUMBERS = {
    "BOOL": "?",
    **{f"INT{bits}": f"i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"u{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"f{bits // 8}" for bits in (16, 32, 64)},
}
_TEXT = "BYTES"
_LONGEST_NAME = 60


def column_of(
    tensor: Any, place: int, binary: Callable[[int], bytes], max_rows: int
) -> tuple[str, list[Any]]:
    """Return name and values of one input tensor, checked against its own shape and datatype.

    Parameters
    ----------
    tensor
        The tensor as in the request's JSON.
    place
        Its place among the inputs, for errors.
    binary
        Returns the next so many bytes behind the JSON.

    Returns
    -------
    The name, and one value for each row; None for a value that is unknown: ``null``, or NaN in binary data, which has
    no ``null``.

    Raises
    ------
    RequestRefusedError
        The tensor is not one row after the other (422), or has too many of them (413).
    """
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise _refused(
            f"inputs[{place}]", "must be an object with a `name`", 'send {"name", "shape", "datatype"}'
        )
    name: str = tensor["name"]
    where = f"inputs[{place}] {name[:_LONGEST_NAME]!r}"
    datatype = tensor.get("datatype")
    if datatype != _TEXT and (not isinstance(datatype, str) or datatype not in _NUMBERS):
        shown = repr(datatype)[:_LONGEST_NAME]
        raise _refused(where, f"has the datatype {shown}", f"use BYTES or one of {', '.join(_NUMBERS)}")
    rows, deep = _rows_of(tensor.get("shape"), where)
    check_count(rows, max_rows)
    size = parameter_of(tensor, "binary_data_size")
    if size is None or "data" in tensor:
        return name, _from_json(tensor.get("data"), datatype, rows, deep, where)
    if type(size) is not int or size < 0:
        raise _refused(where, "its binary_data_size is not a number of bytes")
    data = binary(size)
    return name, _texts(data, rows, where) if datatype == _TEXT else _numbers(data, datatype, rows, where)


def parameter_of(sent: dict[str, Any], name: str) -> Any:
    """Return a parameter of a request or of one of its tensors; None without it."""
    parameters = sent.get("parameters")
    return parameters.get(name) if isinstance(parameters, dict) else None


def _rows_of(shape: object, where: str) -> tuple[int, bool]:
    """Return the number of rows, and whether the shape has two dimensions."""
    if (
        not isinstance(shape, list)
        or len(shape) not in (1, 2)
        or any(type(size) is not int or size < 1 for size in shape)
        or shape[1:] not in ([], [1])
    ):
        raise _refused(
            where, f"has the shape {str(shape)[:_LONGEST_NAME]}", "use [rows] or [rows, 1], one row or more"
        )
    return shape[0], len(shape) == 2


def _from_json(data: object, datatype: str, rows: int, deep: bool, where: str) -> list[Any]:
    if not isinstance(data, list):
        raise _refused(where, "has no `data`", "send a list, or binary data with its binary_data_size")
    if len(data) != rows:
        raise _refused(where, f"its shape has {rows} rows, and its data {len(data)}")
    values = data
    if deep and isinstance(data[0], list):
        if not all(isinstance(one, list) and len(one) == 1 for one in data):
            raise _refused(where, "its data is not of the shape [rows, 1]")
        values = [one[0] for one in data]
    found = set(map(type, values)) - {type(None)}
    if not found <= _types_of(datatype):
        raise _refused(where, f"its data is not all {datatype}")
    return list(map(float, values)) if found == {bool} and None not in values else values


def _types_of(datatype: str) -> set[type]:
    if datatype == _TEXT:
        return {str}
    if datatype == "BOOL":
        return {bool}
    return {int, float} if datatype.startswith("FP") else {int}


def _numbers(data: bytes, datatype: str, rows: int, where: str) -> list[Any]:
    import numpy as np

    kind = np.dtype(_NUMBERS[datatype]).newbyteorder("little")
    if len(data) != rows * kind.itemsize:
        raise _refused(where, f"{rows} {datatype} are {rows * kind.itemsize} bytes, not {len(data)}")
    array = np.frombuffer(data, kind)
    if kind.kind == "b":
        return array.astype(float).tolist()  # type: ignore[no-any-return]
    values: list[Any] = array.tolist()
    if kind.kind == "f" and np.isnan(array).any():
        return [None if value != value else value for value in values]
    return values


def _texts(data: bytes, rows: int, where: str) -> list[Any]:
    found: list[str] = []
    start, end = 0, len(data)
    while start < end and len(found) < rows:
        stop = start + 4
        if stop <= end:
            start, stop = stop, stop + int.from_bytes(data[start:stop], "little")
        if stop > end:
            break
        try:
            found.append(str(data[start:stop], "utf-8"))
        except UnicodeDecodeError:
            raise _refused(where, f"row {len(found)}: is not UTF-8") from None
        start = stop
    if len(found) != rows or start != end:
        raise _refused(where, f"its binary data is not {rows} texts, each after its length in four bytes")
    return found


def encoded(datatype: str, values: Sequence[Any]) -> bytes:
    """Return values as binary data; of BYTES or a datatype of numbers.

    >>> encoded("BYTES", ["a"])
    b'\\x01\\x00\\x00\\x00a'
    """
    if datatype != _TEXT:
        import numpy as np

        return np.array(values, np.dtype(_NUMBERS[datatype]).newbyteorder("little")).tobytes()
    texts = [value.encode() for value in values]
    return b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text))


def _refused(where: str, problem: str, advice: str = "") -> RequestRefusedError:
    return RequestRefusedError(422, f"{where}: {problem}", advice)
