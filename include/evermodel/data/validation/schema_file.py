"""The expected schema of a model's snapshots, and its file: YAML in pandera's format, for review and for pandera."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field
from pydantic import ValidationError as FieldErrors

from evermodel.core.atomic import write_text
from evermodel.core.errors import SpecError
from evermodel.core.formats import stamped, unstamped
from evermodel.core.settings import Settings
from evermodel.core.storage import StoragePath
from evermodel.spec.parts import Share, Span, SpecSection

Bounds = tuple[float | None, float | None]


class ColumnSchema(SpecSection):
    """One column.

    Parameters
    ----------
    dtype
        pandera's name of the type; ``float64`` and ``int64`` are numbers, ``str`` is text.
    categories
        The values that are known; None if anything goes.
    """

    dtype: str
    nullable: bool = True
    unique: bool = False
    coerce: bool = False
    bounds: Bounds = (None, None)
    categories: tuple[str, ...] | None = None

    @property
    def numeric(self) -> bool:
        """True if the column holds numbers."""
        return self.dtype.startswith(("float", "int", "uint"))


class SnapshotSchema(SpecSection):
    """Expectations beyond single columns, under ``evermodel`` in the file.

    Parameters
    ----------
    window
        Length of the window that `rows` is for; for another one they are scaled.
    max_age
        How old the newest row may be at the end of the window.
    class_share
        Smallest and largest share of each class of the label.
    label_mean
        Lowest and highest mean of a label that is a number.
    """

    rows: Bounds = (None, None)
    window: Span | None = None
    max_age: Span | None = None
    null_share: dict[str, Share] = Field(default_factory=dict)
    class_share: dict[str, tuple[Share, Share]] = Field(default_factory=dict)
    label_mean: Bounds = (None, None)


class TableSchema(SpecSection):
    """The whole schema of one model's snapshots."""

    columns: dict[str, ColumnSchema]
    snapshot: SnapshotSchema = SnapshotSchema()


def round_out(value: float, up: bool, width: float) -> float:
    """Round away from the data, to a tenth of the order of magnitude that the width of the data has.

    >>> round_out(1234.5, True, 80.0), round_out(1234.5, False, 800.0), round_out(0.01234, True, 0.5)
    (1235.0, 1230.0, 0.02)
    """
    import math

    digits = 1 - math.floor(math.log10(width))
    unit = 10.0**-digits
    steps = math.ceil(value / unit) if up else math.floor(value / unit)
    return round(steps * unit, max(digits, 0))


_LOG = logging.getLogger(__name__)
SUFFIX = ".schema.yaml"
# The one in C is ten times as fast, where it was built.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_LOW, _HIGH = "greater_than_or_equal_to", "less_than_or_equal_to"
_COLUMN_KEYS = ("dtype", "nullable", "unique", "coerce", _LOW, _HIGH, "isin")
_TOP_KEYS = ("schema_type", "version", "api", "columns", "evermodel")
_ADVICE = "correct the file, or delete it to infer it again from the next snapshot"
_HEAD = """\
# Schema of the snapshots of {model}, inferred from {source} with tolerances for normal weeks.
# Review it: every retrain is checked against it. `evermodel data schema {model} --refresh` writes it again.
# The format is pandera's: pandera.pandas.DataFrameSchema.from_yaml() reads this file and ignores the section `evermodel`.
"""


def schema_places(model: str, settings: Settings) -> tuple[Path, StoragePath]:
    """Return where a schema file may be: beside the spec, or in the lake where the spec's folder is read-only."""
    name = f"{model}{SUFFIX}"
    return settings.models / name, settings.lake / "schemas" / name


def find_schema(model: str, settings: Settings) -> StoragePath | None:
    """Return the schema file of a model, if there is one."""
    return next((place for place in schema_places(model, settings) if place.is_file()), None)


def store_schema(schema: TableSchema, model: str, source: str, settings: Settings) -> StoragePath:
    """Write a schema beside the spec, or into the lake if that cannot be written, and return where it is.

    Parameters
    ----------
    source
        What it was inferred from, for the head of the file.
    """
    text = _HEAD.format(model=model, source=source) + to_yaml(schema)
    beside, lake = schema_places(model, settings)
    try:
        write_text(beside, text)
    except OSError as error:
        _LOG.warning("%s cannot be written (%s); the schema file is in %s", beside, error.strerror, lake)
        write_text(lake, text)
        return lake
    return beside


def to_yaml(schema: TableSchema) -> str:
    """Return the YAML of a schema, without a head."""
    columns = {name: _column_data(column) for name, column in schema.columns.items()}
    snapshot = schema.snapshot.model_dump(mode="json", exclude_defaults=True)
    data = {"schema_type": "dataframe", "columns": columns, "evermodel": stamped(snapshot)}
    # Short lists stay on one line, and columns in the order of the snapshot.
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


def read_schema(file: StoragePath) -> TableSchema:
    """Read a schema file.

    Raises
    ------
    SpecError
        The file cannot be read, or holds something that is not enforced here.
    """
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecError(f"{file}: cannot be read ({error})", _ADVICE) from error
    if not isinstance(data, dict) or not isinstance(data.get("columns"), dict):
        raise SpecError(f"{file}: it contains no columns", _ADVICE)
    _require_known(file, "", data, _TOP_KEYS)
    try:
        columns = {str(name): _column(file, str(name), column) for name, column in data["columns"].items()}
        return TableSchema(
            columns=columns,
            snapshot=SnapshotSchema.model_validate(unstamped(data.get("evermodel") or {}, file)),
        )
    except FieldErrors as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SpecError(f"{file}: {where}: {first['msg']} (found {first['input']!r})", _ADVICE) from None


class _Dumper(yaml.SafeDumper):
    """A dumper that writes lists on one line."""


def _flat(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


_Dumper.add_representer(list, _flat)


def _column_data(column: ColumnSchema) -> dict[str, Any]:
    data: dict[str, Any] = {"dtype": column.dtype, "nullable": column.nullable}
    data |= {key: True for key in ("unique", "coerce") if getattr(column, key)}
    data |= {k: v for k, v in zip((_LOW, _HIGH), column.bounds, strict=True) if v is not None}
    if column.categories is not None:
        data["isin"] = list(column.categories)
    return data


def _column(file: StoragePath, name: str, data: object) -> ColumnSchema:
    if not isinstance(data, dict):
        raise SpecError(f"{file}: columns.{name}: dtype is missing", _ADVICE)
    _require_known(file, f"columns.{name}.", data, _COLUMN_KEYS)
    bounds: Bounds = (data.get(_LOW), data.get(_HIGH))
    plain = {key: data[key] for key in ("dtype", "nullable", "unique", "coerce") if key in data}
    known = None if data.get("isin") is None else tuple(map(_written, data["isin"]))
    # pandera's default for nullable is False.
    return ColumnSchema.model_validate({"nullable": False, **plain, "bounds": bounds, "categories": known})


def _written(value: object) -> str:
    """Return a category as the engine writes it; YAML reads an unquoted 7 or true as something else."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _require_known(file: StoragePath, where: str, data: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in data:
        if key not in known:
            raise SpecError(
                f"{file}: {where}{key}: is not enforced (known: {', '.join(known)})",
                "remove it, or check it in your own pandera test",
            )
