"""Snapshots: immutable Parquet files named by their content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.atomic import sweep
from evermodel.core.errors import EmptyWindowError
from evermodel.core.formats import JsonData
from evermodel.core.settings import Settings
from evermodel.core.storage import StoragePath, path_in, readable
from evermodel.data.dtypes import with_label
from evermodel.data.local_engine import SCRATCH
from evermodel.data.parquet import write_by_content
from evermodel.data.snapshots.store import snapshot_store
from evermodel.data.sources import stream_window
from evermodel.data.sources.partitions import Partitions
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, parse_moment, training_window

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Snapshot(JsonData):
    """One extracted dataset.

    Parameters
    ----------
    path
        File, relative to the lake.
    digest
        First 16 hex digits of the file's SHA-256; also its name.
    md5
        DVC's name of the content.
    start, end
        The window, ISO 8601, end exclusive.
    """

    model: str
    path: str
    digest: str
    md5: str
    rows: int
    start: str
    end: str

    @property
    def window(self) -> Window:
        """The interval that the rows come from."""
        return Window(parse_moment(self.start), parse_moment(self.end))


def take_snapshot(spec: ModelSpec, as_of: datetime, settings: Settings) -> Snapshot:
    """Extract the training window as of a moment, and track and push it with DVC.

    Doing it again for the same moment and data ends in the same file.

    Raises
    ------
    EmptyWindowError
        The window holds no row.
    SourceError
        The source cannot be read, or the label is not what the task needs.
    SourceUnavailableError
        The source cannot be reached, or broke off; nothing of a snapshot is left behind.
    LakeFullError
        There is no room for the snapshot.
    """
    window = training_window(spec, as_of)
    store = snapshot_store(settings)
    with store.workspace() as folder:
        file, rows = extract(spec, window, folder, settings.lake)
        path, md5 = path_in(folder, file), store.track(file)
    return Snapshot(
        model=spec.name,
        path=path,
        digest=file.stem,
        md5=md5,
        rows=rows,
        start=window.start.isoformat(),
        end=window.end.isoformat(),
    )


def extract(
    spec: ModelSpec, window: Window, folder: Path, lake: StoragePath | None = None
) -> tuple[Path, int]:
    """Write the rows of a window that have a label to ``snapshots/<model>/`` of a folder, named by their content.

    Parameters
    ----------
    lake
        Where cached days are; the folder if not given.

    Returns
    -------
    The file and its rows. See `take_snapshot` for the errors.
    """
    seen = 0
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder, f"{SCRATCH}*")
    sweep(folder / "snapshots" / spec.name, ".*.tmp")

    def labelled(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        nonlocal seen
        for table in tables:
            seen += table.num_rows
            yield with_label(spec, table)

    sort = (spec.time_column, spec.id_column)
    with _tables(spec, window, folder, lake or folder) as tables:
        written = write_by_content(labelled(tables), folder / "snapshots" / spec.name, sort)
    if written is None:
        missing = "no labeled row" if seen else "no row"
        raise EmptyWindowError(
            f"model {spec.name}: the source has {missing} in {window}",
            "check that the data of this interval has arrived, then run this again",
        )
    return written


@contextmanager
def _tables(
    spec: ModelSpec, window: Window, scratch: Path, lake: StoragePath
) -> Iterator[Iterator[pa.Table]]:
    """Yield the rows of a window in bounded batches, from cached days or from the source."""
    import pyarrow as pa

    if spec.source.late is not None:
        with Partitions(spec, lake).tables(window) as tables:
            yield tables
    else:
        with stream_window(spec, window, with_label=True, scratch=scratch) as rows:
            yield (pa.Table.from_batches([batch]) for batch in rows)


def read_snapshot(
    path: str, settings: Settings, window: Window | None = None, time_column: str = ""
) -> pa.Table:
    """Read a snapshot, or one interval of it; DVC pulls a missing file.

    Parameters
    ----------
    path
        The snapshot's path, relative to the lake.
    window, time_column
        Keep only the rows of this interval.
    """
    import pyarrow.parquet as pq

    file = readable(snapshot_store(settings).source(path))
    return pq.read_table(file, filters=window.filter(time_column) if window is not None else None)
