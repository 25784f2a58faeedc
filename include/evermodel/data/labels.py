"""The label column in the task's type; rows without a known label are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel.core.errors import SourceError
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa

_WANTED = {
    "binary": "0/1 or true/false",
    "multiclass": "names or whole numbers",
    "regression": "a finite number",
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
