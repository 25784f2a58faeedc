"""The column types that training, scoring and serving share: of frames of features, and of the label."""

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
    require_features(spec, list(frame.columns))
    columns: dict[str, pd.Series[Any]] = {}
    for name in spec.features.numeric:
        try:
            columns[name] = pd.to_numeric(frame[name]).astype("float64")
        except (TypeError, ValueError) as error:
            raise not_numeric(name, error) from error
    for name in spec.features.categorical:
        values = frame[name].astype(object)
        missing = values.isna()
        columns[name] = values.map(str).where(~missing, None)
    return pd.DataFrame(columns, index=frame.index)


def context_frame(spec: ModelSpec, table: pa.Table) -> pd.DataFrame:
    """Return the columns of `context` as text, None for missing.

    Raises
    ------
    SourceError
        One is missing.
    """
    import pyarrow as pa

    _require(spec, table.column_names, list(spec.context), "columns of the context")
    columns = {name: as_type(table[name], pa.string()) for name in spec.context}
    frame: pd.DataFrame = pa.table(columns).to_pandas()
    return frame


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

    table = table.select(require_features(spec, table.column_names))
    for name in spec.features.categorical:
        # pandas turns whole numbers beside a null into floats: the same code would be "7" one day and "7.0" the next.
        # Arrow names every other value too, because the drift reference is counted under Arrow's names.
        if not pa.types.is_dictionary(table.schema.field(name).type):
            index = table.column_names.index(name)
            table = table.set_column(index, name, table[name].cast(pa.string()))
    frame: pd.DataFrame = table.to_pandas()
    return frame


def not_numeric(name: str, error: Exception) -> SourceError:
    """Return the error for a numeric feature that holds something else."""
    return SourceError(
        f"column {name} is declared numeric but contains other values ({error})",
        "correct the source query, or list the column under features.categorical",
    )


def require_features(spec: ModelSpec, names: list[str]) -> list[str]:
    """Return the features, or raise `SourceError` if one is not among the names of the columns."""
    return _require(spec, names, spec.features.names, "features")


def _require(spec: ModelSpec, names: list[str], wanted: list[str], what: str) -> list[str]:
    present = set(names)
    missing = [name for name in wanted if name not in present]
    if missing:
        raise SourceError(
            f"the data of model {spec.name} lacks the {what} {', '.join(missing)}; it has {', '.join(names)}",
            f"correct the source query or the spec's {what.rsplit(' ', maxsplit=1)[-1]}",
        )
    return wanted


_WANTED = {
    "binary": "0/1 or true/false",
    "multiclass": "names or whole numbers",
    "regression": "a finite number",
    "ranking": "a finite number of at least 0",
}


def with_label(spec: ModelSpec, table: pa.Table) -> pa.Table:
    """Return the table with its label as int8 (binary), text (multiclass) or float64 (regression).

    Raises
    ------
    SourceError
        The label holds something else.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    name = spec.label.column
    table = table.filter(pc.is_valid(table[name]))
    label = table[name]
    if spec.task == "multiclass":
        if not (
            pa.types.is_integer(label.type)
            or pa.types.is_string(label.type)
            or pa.types.is_large_string(label.type)
        ):
            raise _label_error(spec, table)
        typed = pc.cast(label, pa.string())
    else:
        try:
            numbers = pc.cast(label, pa.float64())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise _label_error(spec, table) from error
        fine = (
            pc.is_in(numbers, value_set=pa.array([0.0, 1.0]))
            if spec.task == "binary"
            else pc.is_finite(numbers)
        )
        if spec.task == "ranking":
            fine = pc.and_(fine, pc.greater_equal(numbers, 0))
        if table.num_rows and not pc.all(fine).as_py():
            raise _label_error(spec, table)
        typed = pc.cast(numbers, pa.int8()) if spec.task == "binary" else numbers
    return table.set_column(table.column_names.index(name), name, typed)


def _label_error(spec: ModelSpec, table: pa.Table) -> SourceError:
    import pyarrow.compute as pc

    found = pc.unique(table[spec.label.column]).slice(0, 5).to_pylist()
    return SourceError(
        f"model {spec.name}: the label {spec.label.column} is not {_WANTED[spec.task]}; it holds {found}",
        f"convert it in `source.query`, or change `task` (now {spec.task})",
    )
