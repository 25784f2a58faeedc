"""Snapshots: immutable Parquet files named by their content."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.errors import EmptyWindowError
from evermodel.labels import with_label
from evermodel.settings import Settings
from evermodel.sources import read_window
from evermodel.spec import ModelSpec
from evermodel.versioning import SnapshotStore
from evermodel.window import Window, parse_moment, training_window

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Snapshot:
    """One extracted dataset.

    Parameters
    ----------
    path
        File, relative to the lake.
    digest
        First 16 hex digits of the file's SHA-256; also its name.
    md5
        DVC's name of the content.
    rows
        Number of rows.
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

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for XCom and MLflow tags."""
        return asdict(self)


def take_snapshot(spec: ModelSpec, as_of: datetime, settings: Settings) -> Snapshot:
    """Extract what a retrain as of a moment may see, and have DVC track and push it.

    Doing it again for the same moment and data ends in the same file.

    Raises
    ------
    EmptyWindowError
        The window holds no row.
    SourceError
        The source cannot be read, or the label is not 0/1.
    """
    window = training_window(spec, as_of)
    table = read_window(spec, window, with_label=True)
    _require_rows(spec, table, f"no row in {window}")
    table = with_label(spec, table)
    _require_rows(spec, table, f"no row with a label in {window}")
    file = _write(table, settings.lake / "snapshots" / spec.name)
    md5 = SnapshotStore(settings.lake, settings.dvc_remote).track(file)
    return Snapshot(
        model=spec.name,
        path=str(file.relative_to(settings.lake)),
        digest=file.stem,
        md5=md5,
        rows=table.num_rows,
        start=window.start.isoformat(),
        end=window.end.isoformat(),
    )


def read_snapshot(
    path: str, settings: Settings, window: Window | None = None, time_column: str = ""
) -> pa.Table:
    """Read a snapshot, or one interval of it; a file that is not here is pulled by DVC.

    Parameters
    ----------
    path
        The snapshot's path, relative to the lake.
    window, time_column
        Keep only the rows of this interval.
    """
    import pyarrow.parquet as pq

    file = settings.lake / path
    if not file.exists():
        SnapshotStore(settings.lake, settings.dvc_remote).restore(file)
    filters = None
    if window is not None:
        filters = [(time_column, ">=", window.start), (time_column, "<", window.end)]
    return pq.read_table(file, filters=filters)


def _require_rows(spec: ModelSpec, table: pa.Table, else_has: str) -> None:
    if table.num_rows == 0:
        raise EmptyWindowError(
            f"model {spec.name}: the source has {else_has}",
            "check that the data of this interval has arrived; then clear this task",
        )


def _write(table: pa.Table, folder: Path) -> Path:
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{uuid.uuid4().hex}.tmp"
    try:
        pq.write_table(table, temporary, compression="zstd", row_group_size=100_000, store_schema=False)
        target = folder / f"{hashlib.sha256(temporary.read_bytes()).hexdigest()[:16]}.parquet"
        temporary.replace(target)  # also over a file of that name: it is the same, or was damaged since
    finally:
        temporary.unlink(missing_ok=True)
    return target
