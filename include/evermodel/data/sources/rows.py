"""Convert a database's rows to Arrow batches with types from the spec."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import SourceError
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa

Row = Sequence[Any]


def schema_of(spec: ModelSpec, names: Sequence[str], rows: Sequence[Row]) -> pa.Schema:
    """Return the types of columns: numbers are float64, categories text; id, time and label as the first rows have them.

    Parameters
    ----------
    names
        The columns.
    rows
        The first rows.
    """
    import pyarrow as pa

    kinds: dict[str, Any] = {name: pa.float64() for name in spec.features.numeric}
    kinds |= {name: pa.string() for name in spec.features.categorical}
    kinds[spec.id_column] = pa.int64() if _first(spec.id_column, names, rows, int) else pa.string()
    text_time = _first(spec.time_column, names, rows, str)
    kinds[spec.time_column] = pa.string() if text_time else pa.timestamp("us", tz="UTC")
    text_label = spec.task == "multiclass" or _first(spec.label.column, names, rows, str)
    kinds[spec.label.column] = pa.string() if text_label else pa.float64()
    return pa.schema([(name, kinds[name]) for name in names])


def to_batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    """Turn rows into a batch.

    Raises
    ------
    SourceError
        A value does not fit its column.
    """
    import pyarrow as pa

    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [_array(field, column) for field, column in zip(schema, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(field: pa.Field[pa.DataType], values: Sequence[Any]) -> pa.Array[Any]:
    import pyarrow as pa

    try:
        return pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        pass  # a type that Arrow does not take as it is, such as Decimal, UUID or bool: value by value
    convert = _CONVERT.get(str(field.type), _text)
    converted = []
    for value in values:
        try:
            converted.append(None if value is None else convert(value))
        except (TypeError, ValueError, OverflowError) as error:
            raise SourceError(
                f"column {field.name} holds {value!r}, which is not a {_TOLD.get(str(field.type), 'text')}",
                "fix the data or cast the column in the source's query; every value must have the same type",
            ) from error
    return pa.array(converted, field.type)


def _first(column: str, names: Sequence[str], rows: Sequence[Row], kind: type) -> bool:
    """Tell whether the first value of a column that is there is of a type; true and false are no numbers here."""
    if column not in names:
        return False
    place = names.index(column)
    value = next((row[place] for row in rows if row[place] is not None), None)
    return isinstance(value, kind) and not isinstance(value, bool)


def _moment(value: object) -> datetime:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise TypeError(f"{value!r} is not a time")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.decode() if isinstance(value, bytes) else str(value)


_CONVERT: dict[str, Any] = {"double": float, "int64": int, "timestamp[us, tz=UTC]": _moment}
_TOLD = {"double": "number", "int64": "whole number", "timestamp[us, tz=UTC]": "time"}
