"""A model's history, and the data known at a moment: a backtest's only access to data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import EmptyWindowError
from evermodel.data.parquet import write_by_content
from evermodel.data.sources import stream_window
from evermodel.data.validation.scan import name
from evermodel.spec import ModelSpec
from evermodel.spec.source import FilesSource
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa


_LONG_AGO = datetime(1900, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class BacktestHistory:
    """The rows of a source over a period, stored once.

    Parameters
    ----------
    file
        The rows with their labels, named by their content.
    known
        Column that says when a row, or a changed version of it, was known; the source may then hold several versions
        of a row. Without it, a row is known from its time on, and its label `label.delay` later.
    """

    spec: ModelSpec
    file: Path
    known: str | None = None

    @property
    def digest(self) -> str:
        """Names the content."""
        return self.file.stem

    @cached_property
    def reach(self) -> Window:
        """Moments of the first and the last row, both of them inside."""
        import pyarrow.parquet as pq

        groups = pq.ParquetFile(self.file).metadata
        place = groups.schema.names.index(self.spec.time_column)
        # Every file of the lake has the limits of its times.
        found: list[Any] = [
            groups.row_group(n).column(place).statistics for n in range(groups.num_row_groups)
        ]
        return Window(min(s.min for s in found), max(s.max for s in found))

    def at(self, moment: datetime) -> KnownWorld:
        """Return the data known at a moment."""
        return KnownWorld(self, moment)


@dataclass(frozen=True)
class KnownWorld:
    """The data known at a moment, and nothing else.

    Its spec is the model's own, with a source that holds the rows and labels known by then. Every step of a retrain,
    of scoring and of the drift DAG reads its data through the spec, so none of them can see further.
    """

    history: BacktestHistory
    as_of: datetime

    @cached_property
    def spec(self) -> ModelSpec:
        """The model's spec over what was known; its rows have their aggregates already, as known at their time."""
        spec = self.history.spec
        source = FilesSource(path=str(self.history.file), query=self._query)
        features = spec.features.model_copy(update={"aggregates": (), "online": None})
        return spec.model_copy(update={"source": source, "features": features})

    @property
    def _query(self) -> str:
        spec, known = self.history.spec, self.history.known
        time, label = name(spec.time_column), name(spec.label.column)
        matured = f"CASE WHEN {time} < {_moment(self.as_of - spec.label.delay)} THEN {label} END AS {label}"
        by_then = f"FROM source WHERE {time} < {_moment(self.as_of)}"
        if known is None:
            return f"SELECT * REPLACE ({matured}) {by_then}"
        said = name(known)
        last = (
            f"row_number() OVER (PARTITION BY {name(spec.id_column)} ORDER BY {said} DESC, hash(source)) = 1"
        )
        return (
            f"SELECT * EXCLUDE ({said}) REPLACE ({matured}) {by_then} "
            f"AND {said} < {_moment(self.as_of)} QUALIFY {last}"
        )


def record_history(
    spec: ModelSpec,
    folder: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    known: str | None = None,
) -> BacktestHistory:
    """Read the source once and write its rows to a folder; the same rows give the same file.

    Parameters
    ----------
    since, until
        What to read; everything that is there if not given.

    Raises
    ------
    EmptyWindowError
        There is no row.
    SourceError
        The source cannot be read.
    """
    window = Window(since or _LONG_AGO, until or datetime.now(UTC))
    written = write_by_content(_rows(spec, window, known), folder, (spec.time_column, spec.id_column))
    if written is None:
        raise EmptyWindowError(
            f"model {spec.name}: the source has no row in {window}", "choose another --start or --end"
        )
    return BacktestHistory(spec, written[0], known)


def _rows(spec: ModelSpec, window: Window, known: str | None) -> Iterator[pa.Table]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if known is not None:
        # Sources read the columns of a spec, so for this one read it counts as context.
        spec = spec.model_copy(update={"context": (*spec.context, known)})
    with stream_window(spec, window, with_label=True) as rows:
        for batch in rows:
            table = pa.Table.from_batches([batch])
            if known is not None:
                place = table.column_names.index(known)
                moments = pc.cast(table[known], pa.timestamp("us", tz="UTC"))
                table = table.set_column(place, known, moments)
            yield table


def _moment(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f+00}'"


_SHIPPED = "${EVERMODEL_DATA}/flights.parquet"


def with_example_data(spec: ModelSpec, folder: Path, say: Callable[[str], None]) -> ModelSpec:
    """Return the spec with a source that can be read.

    Only the shipped example without its environment variable is changed: its flights are prepared as the demo does.

    Parameters
    ----------
    folder
        Where the file goes; the one that is there is used again.
    """
    source = spec.source
    if not isinstance(source, FilesSource) or source.path != _SHIPPED or "EVERMODEL_DATA" in os.environ:
        return spec
    from evermodel.data.examples.flights import prepare_flights, with_flights

    say("EVERMODEL_DATA is not set: preparing the example's data")
    return with_flights(spec, prepare_flights(folder).parent)
