"""Cached days of a source: a rolling window reads only days that are new or may still change."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.atomic import sweep
from evermodel.core.errors import SnapshotStoreError
from evermodel.core.formats import json_digest
from evermodel.core.paths import inside
from evermodel.core.storage import StoragePath, readable
from evermodel.data.parquet import repeating, room_for
from evermodel.data.sources import stream_window
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

_DAY = timedelta(days=1)
# What does not change which rows a source gives.
_NOT_CONTENT = {"complete", "late", "batch_rows", "step"}
_BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Part:
    """A day of a window, or the piece of one at its ends, and the cache file of its rows if it exists."""

    window: Window
    file: StoragePath | None

    @property
    def whole(self) -> bool:
        """Whether it is a whole day in UTC."""
        return (
            self.window.end - self.window.start == _DAY and _midnight(self.window.start) == self.window.start
        )


class Partitions:
    """The cached days of one model's source in the lake.

    Parameters
    ----------
    now
        The clock's time: a day is kept once it ended longer ago than the source's `late`.
    """

    def __init__(self, spec: ModelSpec, lake: StoragePath, now: datetime | None = None) -> None:
        self.spec = spec
        self.now = now or datetime.now(UTC)
        self.lake = lake
        self.folder = folder_of(spec.name, lake) / _key(spec)

    @contextmanager
    def tables(self, window: Window) -> Iterator[Iterator[pa.Table]]:
        """Yield the rows of a window in order, with labels, reading uncached days from the source.

        Raises
        ------
        SnapshotStoreError
            A day that is kept here is damaged; it is removed, so that the next try reads it again.
        """
        with self._staging() as staging:
            parts = self._read(self._plan(window, use_kept=True), staging)
            schema = _one_schema(parts)
            if schema is None:
                # A column has changed its type since: no day may be left from before.
                parts = self._read(self._plan(window, use_kept=False), staging)
                schema = _one_schema(parts)
            assert schema is not None, "one reading has one schema"
            yield self._tables(parts, schema)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """Give a folder for days that are being read: beside the cached ones, or for a bucket on this machine."""
        if not isinstance(self.folder, Path):
            with tempfile.TemporaryDirectory(prefix="evermodel-partitions-") as name:
                yield Path(name)
            return
        staging = self.folder / f".{uuid.uuid4().hex}"
        staging.mkdir(parents=True)
        sweep(self.folder, ".*")
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _plan(self, window: Window, *, use_kept: bool) -> list[Part]:
        parts = [Part(part, None) for part in _days(window)]
        return [Part(p.window, self._kept(p)) for p in parts] if use_kept else parts

    def _kept(self, part: Part) -> StoragePath | None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        file = self._file(part)
        if not part.whole or not self._settled(part) or not file.exists():
            return None
        try:
            pq.read_metadata(readable(file))
        except (pa.ArrowException, OSError):
            return None  # a partial copy: read the day again
        return file

    def _settled(self, part: Part) -> bool:
        assert self.spec.source.late is not None
        return part.window.end + self.spec.source.late <= self.now

    def _file(self, part: Part) -> StoragePath:
        return self.folder / f"{part.window.start.astimezone(UTC):%Y-%m-%d}.parquet"

    def _read(self, parts: list[Part], staging: Path) -> list[Part]:
        """Read the parts without a file, adjacent ones in one read."""
        done: list[Part] = []
        for missing, group in groupby(parts, key=lambda part: part.file is None):
            run = list(group)
            done += self._read_run(run, staging) if missing else run
        return done

    def _read_run(self, run: list[Part], staging: Path) -> list[Part]:
        whole = Window(run[0].window.start, run[-1].window.end)
        names = [staging / f"{uuid.uuid4().hex}.parquet" for _ in run]
        with stream_window(self.spec, whole, with_label=True, scratch=staging) as rows, room_for(names[0]):
            _write_days(rows.schema, iter(rows), self.spec.time_column, run, names)
        # Only now, when the source has given everything, may a day be kept.
        return [
            Part(part.window, self._keep(file, part) if part.whole and self._settled(part) else file)
            for part, file in zip(run, names, strict=True)
        ]

    def _keep(self, file: Path, part: Part) -> StoragePath:
        kept = self._file(part)
        if isinstance(kept, Path):
            file.replace(kept)
            return kept
        kept.upload(file)
        return file

    def _tables(self, parts: list[Part], schema: pa.Schema) -> Iterator[pa.Table]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for part in parts:
            assert part.file is not None
            try:
                with pq.ParquetFile(readable(part.file), page_checksum_verification=True) as kept:
                    for batch in kept.iter_batches(_BATCH_ROWS):
                        yield pa.Table.from_batches([batch]).cast(schema)
            except (pa.ArrowException, OSError) as error:
                part.file.unlink(missing_ok=True)
                raise SnapshotStoreError(
                    f"model {self.spec.name}: the cached day {part.file} is damaged: {error}",
                    "no action is needed: the file is removed and the next try reads the day from its source",
                ) from error


def folder_of(model: str, lake: StoragePath) -> StoragePath:
    """Return the folder of a model's cached days."""
    return inside(lake / "partitions", model)


def _key(spec: ModelSpec) -> str:
    """Return the cache key: everything that determines the content of the days."""
    whole = spec.canonical()
    content: dict[str, Any] = {
        "source": {
            k: v for k, v in spec.source.content.items() if k not in _NOT_CONTENT and (k, v) != ("tables", {})
        },
        "columns": spec.columns,
        "time": spec.time_column,
        "task": spec.task,
        "numeric": list(spec.features.numeric),
    }
    if spec.features.aggregates:
        content["aggregates"] = whole["features"]["aggregates"]
    if (online := whole["features"]["online"]) is not None:
        content["online"] = [online["every"], online["delay"]]
    return json_digest(content)[:16]


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _days(window: Window) -> list[Window]:
    days: list[Window] = []
    start = window.start
    while start < window.end:
        end = min(_midnight(start) + _DAY, window.end)
        days.append(Window(start, end))
        start = end
    return days


def _write_days(
    schema: pa.Schema, batches: Iterator[pa.RecordBatch], time: str, run: list[Part], files: list[Path]
) -> None:
    """Cut rows that come in the order of time into a file for each part, empty ones too."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    options: dict[str, Any] = {
        "compression": "zstd",
        "write_page_checksum": True,
        "use_dictionary": repeating(schema),
    }
    rest: pa.RecordBatch | None = None
    for part, file in zip(run, files, strict=True):
        end = pa.scalar(part.window.end, pa.timestamp("us", tz="UTC")).value or 0
        with pq.ParquetWriter(file, schema, **options) as writer:
            while True:
                if rest is None or rest.num_rows == 0:
                    rest = next(batches, None)
                if rest is None:
                    break
                count = _before(rest, time, end)
                if count:
                    writer.write_batch(rest.slice(0, count))
                    rest = rest.slice(count)
                if rest.num_rows:
                    break


def _before(batch: pa.RecordBatch, time: str, end: int) -> int:
    """Count the rows, which are in the order of time, before a moment."""
    import numpy as np
    import pyarrow as pa

    moments = batch.column(time).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return int(np.searchsorted(moments, end, side="left"))


def _one_schema(parts: list[Part]) -> pa.Schema | None:
    """Return the schema that all parts have, a column of nothing but nulls taking any type; None if they differ."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schemas = [pq.read_schema(readable(part.file)) for part in parts if part.file]
    fields = []
    for name in schemas[0].names:
        kinds = {
            schema.field(name).type for schema in schemas if not pa.types.is_null(schema.field(name).type)
        }
        if len(kinds) > 1:
            return None
        fields.append(pa.field(name, kinds.pop() if kinds else pa.null()))
    return pa.schema(fields)
