"""The expected schema of a model's snapshots."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

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
    rows
        Fewest and most rows.
    window
        Length of the window that `rows` is for; for another one they are scaled.
    max_age
        How old the newest row may be at the end of the window.
    null_share
        Largest share of nulls by column.
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


def at_least(span: timedelta, least: timedelta) -> timedelta:
    """Return the longer one, in whole hours."""
    hours = -(-max(span, least) // timedelta(hours=1))
    return timedelta(hours=hours)
