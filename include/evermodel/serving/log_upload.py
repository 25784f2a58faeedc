"""The way of the prediction log into the lake: files wait on this machine's disk until the table has them."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from evermodel.core.atomic import place, replacing, sweep
from evermodel.core.errors import EvermodelError
from evermodel.core.extras import is_installed
from evermodel.core.storage import StoragePath
from evermodel.data.day_table import DayTable
from evermodel.data.table_file import FileContent, TableFile
from evermodel.serving.log_file import LogFileError, bounds_of, join, kinds_of, read_rows, write_rows
from evermodel.serving.services import ServiceThread

if TYPE_CHECKING:
    from arro3.core import Table

_LOG = logging.getLogger(__package__)
_PARTS = "evermodel.spooled"  # the files whose rows a joined file has
_READY = ".upload"
_MOST_ROWS = 200_000
_LAST_PATIENCE = 30.0  # seconds


class LogUploader(ServiceThread):
    """A thread that brings what `PredictionLog` writes to this machine's disk into the lake, joined to larger files.

    A row is in one place that counts, whenever the process is killed: the files that are joined are deleted once the
    joined one is on the disk, and that once it is in the lake and announced to the table, under a key and a number that
    it keeps. Of several processes that share the disk, one uploads. Where `deltalake` is installed it commits at once;
    otherwise the next process does that reads or writes the table, such as the drift DAG's.

    Parameters
    ----------
    folder
        Where the logs wait: ``<log>/<model>/date=…/*.parquet``.
    lake
        Where the tables are: ``<log>/<model>``.
    seconds
        Time between two uploads.
    most_bytes
        What may wait; beyond it `has_room` is False, and predictions are dropped and counted.
    """

    def __init__(
        self, folder: Path, lake: StoragePath, *, seconds: float = 30.0, most_bytes: int = 2_000_000_000
    ) -> None:
        super().__init__("log-upload", 60.0)
        self._folder = folder
        self._lake = lake
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._waiting = 0
        self._failing = False
        self._key = uuid.uuid4().hex
        self._number = 0

    @property
    def has_room(self) -> bool:
        """Whether more may wait."""
        return self._waiting < self._most_bytes

    def run(self) -> None:
        """Upload until the thread is cancelled, and once more then."""
        last = False
        while not last:
            last = self._stopping.wait(self._seconds)
            self.upload(_LAST_PATIENCE if last else 0)

    def upload(self, patience: float = 0) -> None:
        """Upload everything that waits; what fails waits on, and the program's log has one line for an outage.

        Parameters
        ----------
        patience
            Longest time that it waits for another process of this machine that uploads, in seconds.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / ".lock", timeout=patience):
                for log in sorted({day.parent for day in self._folder.glob("*/*/date=*")}):
                    self._upload_log(log)
        except Timeout:
            pass  # another process of this machine is at it
        except (EvermodelError, OSError) as error:
            if not self._failing:
                _LOG.warning('event=log_upload_failed folder=%s error="%s"', self._folder, error)
            self._failing = True
        else:
            self._failing = False
        self._waiting = sum(file.stat().st_size for file in _existing(self._folder.rglob("*.parquet")))

    def _upload_log(self, log: Path) -> None:
        table = DayTable(self._lake.joinpath(*log.relative_to(self._folder).parts))
        days = sorted(log.glob("date=*"))
        for folder in (folder for day in days for folder in (day, day / _READY)):
            sweep(folder, ".*.tmp", older_than=3600)
        while True:
            ready = [JoinedFile(file) for day in days for file in (day / _READY).glob("[!.]*.parquet")]
            for file in sorted(ready, key=lambda file: file.number):
                file.announce(table)
            if not any([self._join(day) for day in days]):
                break
        if is_installed("deltalake"):
            table.take_pending()
        for day in days:
            _remove_old(day)

    def _join(self, day: Path) -> bool:
        """Make a file for the upload from those that wait; tell whether there were any."""
        tables: dict[str, Table] = {}
        metadata: dict[str, str] = {}
        for file in sorted(day.glob("[!.]*.parquet")):
            try:
                table, found = read_rows(file)
            except (LogFileError, OSError) as error:
                _LOG.warning('event=log_file_damaged file=%s error="%s"', file, error)
                file.rename(file.with_suffix(".damaged"))
                continue
            if tables and kinds_of(table) != kinds_of(next(iter(tables.values()))):
                continue  # it comes next
            metadata = metadata if tables else found
            tables[file.name] = table
            if sum(table.num_rows for table in tables.values()) >= _MOST_ROWS:
                break
        if not tables:
            return False
        source = next(iter(tables)).split("-", 1)[0]
        self._number += 1
        with replacing(day / _READY / f"{source}-{self._key}-{self._number}.parquet") as temporary:
            parts = {_PARTS: json.dumps(list(tables))}
            write_rows(join([*tables.values()]), temporary, {**metadata, **parts})
        return True


@dataclass(frozen=True)
class JoinedFile:
    """A file that is ready for the upload: ``<source>-<key>-<number>.parquet``."""

    path: Path

    @property
    def number(self) -> tuple[str, int]:
        """Key and number under which it is announced."""
        _, key, *number = self.path.stem.split("-")
        return key, int(number[0]) if number else 1  # releases before the table wrote no number

    def announce(self, table: DayTable) -> None:
        """Copy the file into the lake, announce it to the table, and delete it and the files whose rows it has."""
        day = self.path.parent.parent
        rows, metadata = read_rows(self.path)
        for name in json.loads(metadata[_PARTS]):
            (day / name).unlink(missing_ok=True)
        # Releases before the table gave no number, and may have uploaded the file under that name already.
        target = TableFile.plain(table.root / day.name / self.path.name)
        if self.path.stem.count("-") > 1:
            target = TableFile.new(table.root, target.day, target.source, self.path.name)
        place(self.path, target.path)
        content = FileContent(rows.num_rows, bounds_of(rows))
        table.announce(target.entry(table.root, self.path, content), kinds_of(rows), *self.number)
        self.path.unlink(missing_ok=True)


def _remove_old(day: Path) -> None:
    """Remove the folder of a day that no log writes to any more."""
    if date.fromisoformat(day.name.removeprefix("date=")) < datetime.now(UTC).date() - timedelta(days=2):
        with suppress(OSError):
            (day / _READY).rmdir()
            day.rmdir()


def _existing(files: Iterator[Path]) -> Iterator[Path]:
    """Leave out what another process has uploaded meanwhile."""
    return (file for file in files if file.exists())
