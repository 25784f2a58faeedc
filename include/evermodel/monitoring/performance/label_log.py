"""Labels as known on each day: new and changed ones are a table in the lake, so that an old day can be evaluated again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from evermodel.core.atomic import replacing
from evermodel.core.formats import loads, stamped
from evermodel.core.storage import StoragePath, files_in, readable
from evermodel.data.day_table import DayTable
from evermodel.data.delta_log import Change, TableState
from evermodel.data.dtypes import with_label
from evermodel.data.foreign_log import label_source
from evermodel.data.local_engine import engine_of
from evermodel.data.sources import read_labels
from evermodel.data.table_file import TableFile
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, file_stamp

if TYPE_CHECKING:
    import pyarrow as pa

_COUNTS = b"evermodel.labels"
_PLAIN = "as_of="  # begins the names of what earlier releases wrote
SMALL_ROWS = 1_000_000  # up to which tables are joined in memory
_SLACK = timedelta(days=1)  # the source may date a row a little earlier than the log dates its prediction


@dataclass(frozen=True)
class LabelCounts:
    """Counts of one reading of the labels.

    Parameters
    ----------
    twice
        Predictions with several labels; the last one counts.
    conflicting
        Those of them with contradictory labels.
    changed
        Labels that differ from an earlier day's.
    withdrawn
        Labels of an earlier day that no longer exist.
    """

    twice: int = 0
    conflicting: int = 0
    changed: int = 0
    withdrawn: int = 0


@dataclass(frozen=True)
class LabelLog:
    """The labels of one model in the lake: a Delta Lake table with the new, changed and withdrawn labels of each reading.

    The labels of a day are those of all readings up to it, the last one of each prediction; a withdrawn label is null. The
    column ``source`` names the reading by its moment. A reading is not repeated, so that a re-run of an old day has the
    same result; delete its rows to repeat it.
    """

    spec: ModelSpec
    lake: StoragePath

    @property
    def folder(self) -> StoragePath:
        """Folder of the table."""
        return self.lake / "labels" / self.spec.name

    @property
    def table(self) -> DayTable:
        """The table; a reading is of the day of its moment."""
        return DayTable(self.folder)

    def known_at(
        self, window: Window, as_of: datetime, ids: pa.ChunkedArray[Any]
    ) -> tuple[pa.Table, LabelCounts]:
        """Return the labels of some predictions as they were known at a moment.

        Parameters
        ----------
        window
            When the predictions were made; labels that had not matured by then are not read.

        Returns
        -------
        Table with ``prediction_id`` and ``label``, and the counts.

        Raises
        ------
        SourceError
            The source cannot be read, or the label holds something else than the task needs.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.spec.labelled:
            return self._schema.empty_table().select(["prediction_id", "label"]), LabelCounts()
        readings = self._readings()
        file, reach = readings.get(file_stamp(as_of)), self._reach(window, as_of)
        if file is not None and _counts_of(file)[1] <= reach.start.isoformat():
            counts = _counts_of(file)[0]
        else:
            delta, counts = self._news(readings, reach, as_of, ids)
            note = json.dumps(stamped({"counts": asdict(counts), "start": reach.start.isoformat()}))
            made = TableFile.new(self.folder, as_of.astimezone(UTC).date(), file_stamp(as_of))
            with replacing(made.path) as temporary:
                pq.write_table(delta.replace_schema_metadata({_COUNTS: note.encode()}), temporary)
            self._add(made, readings)
            readings[made.source] = made.path
        known = self._known(readings, reach, as_of, including=True)
        if max(known.num_rows, len(ids)) <= SMALL_ROWS:
            return _among(known, ids), counts
        with engine_of(known=known, wanted=pa.table({"prediction_id": ids})) as database:
            query = (
                "SELECT prediction_id, label FROM known SEMI JOIN wanted USING (prediction_id) ORDER BY ALL"
            )
            return database.sql(query).to_arrow_table(), counts

    def kept_until(self, window: Window, as_of: datetime) -> pa.Table:
        """Return the labels of a window as the readings until a moment kept them; the source is not read."""
        return self._known(self._readings(), self._reach(window, as_of), as_of, including=True)

    def _readings(self) -> dict[str, StoragePath]:
        """Return the file of each reading by its moment, with those of earlier releases, which kept files without a table."""
        plain = {file.stem.removeprefix(_PLAIN): file for file in files_in(self.folder, f"{_PLAIN}*.parquet")}
        return plain | {file.source: file.path for file in self.table.files()}

    def _add(self, made: TableFile, readings: Mapping[str, StoragePath]) -> None:
        """Have a reading in the table once, and those of earlier releases, where their files are."""
        before = [
            TableFile(path, date.fromisoformat(stamp[:10]), stamp)
            for stamp, path in readings.items()
            if path.name.startswith(_PLAIN) and stamp != made.source
        ]

        def plan(state: TableState) -> Change | None:
            if any(file.path == made.path for file in state.files):
                return None  # the answer to the commit was lost
            known = {file.source for file in state.files}
            added = [made, *(file for file in before if file.source not in known)]
            old = [file for file in state.files if file.source == made.source and file.path != made.path]
            return Change([file.entry(self.folder) for file in added], old, {"readings": time.time_ns()})

        self.table.commit(self._schema, plan)

    def _reach(self, window: Window, as_of: datetime) -> Window:
        """Return when the labels of a window's predictions may be dated."""
        # A table of labels dates a row when its label became known.
        apart = self.spec.watch is not None and self.spec.watch.labels is not None
        return Window(window.start - _SLACK, as_of if apart else window.end)

    def _news(
        self,
        readings: Mapping[str, StoragePath],
        reach: Window,
        as_of: datetime,
        ids: pa.ChunkedArray[Any],
    ) -> tuple[pa.Table, LabelCounts]:
        """Compare the source with earlier readings."""
        import pyarrow as pa

        spec = label_source(self.spec)
        rows = with_label(spec, read_labels(spec, reach))
        label = rows[spec.label.column]
        source = pa.table(
            {
                "prediction_id": rows[spec.id_column].cast(pa.string()),
                "time": rows[spec.time_column],
                "label": label.cast(pa.float64()) if spec.task == "binary" else label,
            }
        )
        before = self._known(readings, reach, as_of, including=False)
        with engine_of(source=source, before=before, wanted=pa.table({"prediction_id": ids})) as database:
            # Of two labels with one time the larger counts: the source has no order, and the result must be unique.
            database.execute("""
                CREATE TEMP TABLE now AS
                SELECT prediction_id, max(time) AS time, arg_max(label, (time, label)) AS label,
                       count(*) AS times, count(DISTINCT label) AS labels
                FROM source SEMI JOIN wanted USING (prediction_id) GROUP BY prediction_id
            """)
            ((twice, conflicting),) = database.execute(
                "SELECT count(*) FILTER (times > 1), count(*) FILTER (labels > 1) FROM now"
            ).fetchall()
            database.execute("""
                CREATE TEMP TABLE delta AS
                SELECT coalesce(n.prediction_id, b.prediction_id) AS prediction_id, coalesce(n.time, b.time) AS time,
                       n.label AS label, b.label AS old
                FROM now AS n FULL JOIN (FROM before SEMI JOIN wanted USING (prediction_id)) AS b
                    ON n.prediction_id = b.prediction_id
                WHERE n.label IS DISTINCT FROM b.label
            """)
            ((changed, withdrawn),) = database.execute(
                "SELECT count(*) FILTER (label IS NOT NULL AND old IS NOT NULL), count(*) FILTER (label IS NULL) "
                "FROM delta"
            ).fetchall()
            news = database.sql("SELECT prediction_id, time, label FROM delta ORDER BY ALL").to_arrow_table()
        return news.cast(self._schema), LabelCounts(twice, conflicting, changed, withdrawn)

    def _known(
        self, readings: Mapping[str, StoragePath], reach: Window, as_of: datetime, *, including: bool
    ) -> pa.Table:
        """Return the last label of each prediction in earlier readings, optionally with this one."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        last, first = file_stamp(as_of), file_stamp(reach.start)
        filters = reach.filter("time")
        tables = [pa.Table.from_batches([], self._schema.append(pa.field("seen", pa.string())))]
        for seen, file in sorted(readings.items()):
            if first <= seen < last or (including and seen == last):
                table = pq.read_table(readable(file), schema=self._schema, filters=filters, partitioning=None)
                tables.append(table.append_column("seen", pa.repeat(seen, table.num_rows)))
        with engine_of(files=pa.concat_tables(tables)) as database:
            known: pa.Table = database.sql("""
                SELECT prediction_id, time, label FROM files
                QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY seen DESC) = 1 AND label IS NOT NULL
            """).to_arrow_table()
        return known

    @property
    def _schema(self) -> pa.Schema:
        import pyarrow as pa

        label = pa.string() if self.spec.task == "multiclass" else pa.float64()
        kinds: dict[str, pa.DataType] = {"prediction_id": pa.string(), "time": pa.timestamp("us", tz="UTC")}
        return pa.schema(kinds | {"label": label})


def _among(known: pa.Table, ids: pa.ChunkedArray[Any]) -> pa.Table:
    import pyarrow.compute as pc

    found = known.filter(pc.is_in(known["prediction_id"], ids.combine_chunks()))
    return found.select(["prediction_id", "label"]).sort_by("prediction_id")


def _counts_of(file: StoragePath) -> tuple[LabelCounts, str]:
    import pyarrow.parquet as pq

    note = loads((pq.read_metadata(readable(file)).metadata or {})[_COUNTS], file)
    return LabelCounts(**note["counts"]), note["start"]
