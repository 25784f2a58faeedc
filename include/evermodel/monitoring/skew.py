"""Skew: a day's served features, compared with the same features computed again from the events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evermodel.core.storage import StoragePath
from evermodel.data.prediction_log import read_log
from evermodel.data.sources import read_window
from evermodel.monitoring.drift.columns import to_numpy
from evermodel.monitoring.problems import Problem, Severity, worst_of
from evermodel.spec import ModelSpec
from evermodel.spec.window import last_day

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_MIN_ROWS = 30  # of one origin that both sides have
_SAME = 1e-9  # relative; what a number loses on its way through JSON is less


@dataclass(frozen=True)
class ColumnSkew:
    """How one feature's values differ.

    Parameters
    ----------
    share
        Of the compared rows.
    since
        Time of the first row that differs, ISO 8601.
    median
        Of what was served less what is computed again, where both are numbers; None otherwise.
    """

    column: str
    severity: Severity
    share: float
    rows: int
    since: str
    median: float | None

    def line(self) -> str:
        """Return it in a sentence."""
        by = "" if self.median is None else f", by {self.median:+.4g} in the median"
        return f"{self.column}: {self.share:.1%} of {self.rows} rows differ{by}, since {self.since}"


def skew_problem(spec: ModelSpec, lake: StoragePath, as_of: datetime) -> Problem | None:
    """Compare the features of the last day's predictions with those that the source gives for the same rows now.

    Requests and batches are compared apart, and the worse counts: batches compute their features from the same
    declaration, and would hide what a caller computes otherwise.

    Returns
    -------
    None of a model without aggregates of events and features of Feast.

    Raises
    ------
    SourceError
        The log, the rows or a table of events cannot be read.
    """
    names = spec.joined
    if not names:
        return None
    day = last_day(as_of)
    served = read_log(spec, lake, day)
    again = read_window(spec, day, with_label=False, columns=[spec.id_column, spec.time_column, *names])
    pairs = _paired(spec, served.select(["prediction_id", "event_time", "source", *names]), again)
    parts = _by_origin(pairs)
    if not parts:
        reason = (
            f"too few predictions of {day.start:%Y-%m-%d} have their row in the source (at least {_MIN_ROWS})"
        )
        return Problem("skew", "none", reason, known=False)
    found = [skew for part in parts for name in names if (skew := _compared(spec, part, name))]
    worst = {skew.column: skew for skew in sorted(found, key=lambda skew: skew.share)}
    if not worst:
        return Problem("skew", "none", f"served features agree with the source in {pairs.num_rows} rows")
    lines = tuple(skew.line() for skew in sorted(worst.values(), key=lambda skew: -skew.share))
    severity = worst_of(skew.severity for skew in worst.values())
    cause = f"{', '.join(sorted(worst))} differ from what the events give: who asks computes them otherwise"
    return Problem("skew", severity, "; ".join(lines), cause, lines)


def _paired(spec: ModelSpec, served: pa.Table, again: pa.Table) -> pa.Table:
    """Join both sides by id; an id that the source has more than once is left out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [name for name in again.column_names if name not in (spec.id_column, spec.time_column)]
    ids = again[spec.id_column].cast(pa.string())
    counts = ids.value_counts()
    once = counts.field("values").filter(pc.equal(counts.field("counts"), 1))
    again = again.select(names).rename_columns([f"again_{name}" for name in names])
    again = again.append_column("prediction_id", ids).filter(pc.is_in(ids, once))
    return served.join(again, "prediction_id", join_type="inner")


def _by_origin(pairs: pa.Table) -> list[pa.Table]:
    import pyarrow.compute as pc

    origins = pairs["source"].unique().to_pylist()
    parts = [pairs.filter(pc.equal(pairs["source"], origin)) for origin in origins]
    return [part for part in parts if part.num_rows >= _MIN_ROWS]


def _compared(spec: ModelSpec, pairs: pa.Table, name: str) -> ColumnSkew | None:
    """Return how a column differs, if enough of its rows do."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    served, again = _values(pairs[name]), _values(pairs[f"again_{name}"])
    numbers = served.dtype.kind == again.dtype.kind == "f"
    if numbers:
        missing = np.isnan(served) & np.isnan(again)
        differ = ~(missing | np.isclose(served, again, rtol=_SAME, atol=_SAME))
    else:
        differ = served != again
    share = float(differ.mean())
    bands = spec.drift.skew
    if share < bands.warning:
        return None
    severity: Severity = "critical" if share >= bands.critical else "warning"
    by = (served - again)[differ] if numbers else None
    known = None if by is None else by[~np.isnan(by)]
    since: datetime = pc.min(pairs["event_time"].filter(pa.array(differ.tolist()))).as_py()
    median = None if known is None or not len(known) else float(np.median(known))
    return ColumnSkew(name, severity, share, len(differ), f"{since:%Y-%m-%d %H:%M}", median)


def _values(column: pa.ChunkedArray[Any]) -> NDArray[Any]:
    """Return numbers as float64 with NaN for what is missing, and texts as objects."""
    import numpy as np
    import pyarrow as pa

    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return to_numpy(column.cast(pa.float64()))
    return np.array(column.cast(pa.string()).to_pylist(), dtype=object)
