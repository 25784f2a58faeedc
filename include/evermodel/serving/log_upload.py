"""The way of the prediction log into a bucket: files wait on this machine's disk until the store has them."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from evermodel.core.atomic import replacing, sweep
from evermodel.core.errors import EvermodelError
from evermodel.core.storage import BucketPath
from evermodel.serving.services import ServiceThread

if TYPE_CHECKING:
    import pyarrow as pa

_LOG = logging.getLogger(__package__)
_PARTS = b"evermodel.spooled"  # the files whose rows a joined file has
_READY = ".upload"
_MOST_ROWS = 200_000


class LogUploader(ServiceThread):
    """A thread that uploads what `PredictionLog` writes to this machine's disk, joined to larger objects.

    A row is in one place that counts, whenever the process is killed: the files that are joined are deleted once
    the joined one is on the disk, and that once the bucket has it, under a name that it keeps. Of several processes
    that share the folder, one uploads.

    Parameters
    ----------
    folder
        Where the logs wait: ``<log>/<model>/date=…/*.parquet``.
    lake
        Where they belong, under the same path.
    seconds
        Time between two uploads.
    most_bytes
        What may wait; beyond it `has_room` is False, and predictions are dropped and counted.
    """

    def __init__(
        self, folder: Path, lake: BucketPath, *, seconds: float = 30.0, most_bytes: int = 2_000_000_000
    ) -> None:
        super().__init__("log-upload", 60.0)
        self._folder = folder
        self._lake = lake
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._waiting = 0
        self._failing = False

    @property
    def has_room(self) -> bool:
        """Whether more may wait."""
        return self._waiting < self._most_bytes

    def run(self) -> None:
        """Upload until the thread is cancelled, and once more then."""
        last = False
        while not last:
            last = self._stopping.wait(self._seconds)
            self.upload()

    def upload(self) -> None:
        """Upload everything that waits; what fails waits on, and the program's log has one line for an outage."""
        try:
            with FileLock(self._folder.with_name(f".{self._folder.name}.lock"), timeout=0):
                for day in sorted(self._folder.glob("*/*/date=*")):
                    self._upload_day(day)
        except Timeout:
            pass  # another process of this machine is at it
        except (EvermodelError, OSError) as error:
            if not self._failing:
                _LOG.warning('event=log_upload_failed folder=%s error="%s"', self._folder, error)
            self._failing = True
        else:
            self._failing = False
        self._waiting = sum(file.stat().st_size for file in _existing(self._folder.rglob("*.parquet")))

    def _upload_day(self, day: Path) -> None:
        for folder in (day, day / _READY):
            sweep(folder, ".*.tmp", older_than=3600)
        target = self._lake.joinpath(*day.relative_to(self._folder).parts)
        while True:
            for ready in sorted((day / _READY).glob("[!.]*.parquet")):
                for part in _parts_of(ready):
                    (day / part).unlink(missing_ok=True)
                (target / ready.name).upload(ready)
                ready.unlink()
            if not _join(day):
                break
        if date.fromisoformat(day.name.removeprefix("date=")) < datetime.now(UTC).date() - timedelta(days=2):
            with suppress(OSError):  # no log writes there any more
                (day / _READY).rmdir()
                day.rmdir()


def _join(day: Path) -> bool:
    """Make a file for the upload from those that wait; tell whether there were any."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables: dict[str, pa.Table] = {}
    for file in sorted(day.glob("[!.]*.parquet")):
        try:
            table = pq.read_table(file, partitioning=None)
        except (pa.ArrowException, OSError) as error:
            _LOG.warning('event=log_file_damaged file=%s error="%s"', file, error)
            file.rename(file.with_suffix(".damaged"))
            continue
        if tables and not table.schema.equals(next(iter(tables.values())).schema):
            continue  # it comes next
        tables[file.name] = table
        if sum(table.num_rows for table in tables.values()) >= _MOST_ROWS:
            break
    if not tables:
        return False
    joined = pa.concat_tables(tables.values())
    metadata = {**(joined.schema.metadata or {}), _PARTS: json.dumps(list(tables)).encode()}
    source = next(iter(tables)).split("-", 1)[0]
    with replacing(day / _READY / f"{source}-{uuid.uuid4().hex}.parquet") as temporary:
        pq.write_table(joined.replace_schema_metadata(metadata), temporary, compression="zstd")
    return True


def _parts_of(ready: Path) -> list[str]:
    import pyarrow.parquet as pq

    names: list[str] = json.loads((pq.read_metadata(ready).metadata or {})[_PARTS])
    return names


def _existing(files: Iterator[Path]) -> Iterator[Path]:
    """Leave out what another process has uploaded meanwhile."""
    return (file for file in files if file.exists())
