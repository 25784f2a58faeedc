"""Frames with the column types that training, scoring and serving share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evermodel.core.errors import SourceError
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def feature_frame(spec: ModelSpec, data: pa.Table | pd.DataFrame) -> pd.DataFrame:
    """Return the features as the model sees them: float64 numbers, and categories as objects with None for missing.

    Raises
    ------
    SourceError
        A feature is missing, or a numeric one holds something else.
    """
    import pandas as pd

    frame = data if isinstance(data, pd.DataFrame) else _from_arrow(spec, data)
    _present(spec, list(frame.columns))
    columns: dict[str, pd.Series[Any]] = {}
    for name in spec.features.numeric:
        try:
            columns[name] = pd.to_numeric(frame[name]).astype("float64")
        except (TypeError, ValueError) as error:
            raise SourceError(
                f"column {name} is declared numeric but contains other values ({error})",
                "correct the source query, or list the column under features.categorical",
            ) from error
    for name in spec.features.categorical:
        values = frame[name].astype(object)
        missing = values.isna()
        columns[name] = values.map(str).where(~missing, None)
    return pd.DataFrame(columns, index=frame.index)


def as_type(column: pa.Array[Any] | pa.ChunkedArray[Any], kind: pa.DataType, safe: bool = True) -> Any:
    """Cast a column only if its type differs: Arrow's own check takes microseconds per column and batch.

    Raises
    ------
    pyarrow.ArrowException
        A value is none of the type; with ``safe=False`` it may be rounded.
    """
    return column if column.type == kind else column.cast(kind, safe=safe)


def _from_arrow(spec: ModelSpec, table: pa.Table) -> pd.DataFrame:
    import pyarrow as pa

    table = table.select(_present(spec, table.column_names))
    for name in spec.features.categorical:
        # pandas turns whole numbers beside a null into floats: the same code would be "7" one day and "7.0" the next.
        # Arrow names every other value too, because the drift reference is counted under Arrow's names.
        if not pa.types.is_dictionary(table.schema.field(name).type):
            index = table.column_names.index(name)
            table = table.set_column(index, name, table[name].cast(pa.string()))
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _present(spec: ModelSpec, names: list[str]) -> list[str]:
    missing = [name for name in spec.features.names if name not in names]
    if missing:
        raise SourceError(
            f"the data of model {spec.name} lacks the features {', '.join(missing)}; it has {', '.join(names)}",
            "correct the source query or the spec's features",
        )
    return spec.features.names
