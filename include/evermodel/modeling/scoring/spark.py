"""The same scoring as a job of Spark: its workers write the day's files into the table's storage, and one commit adds them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evermodel.core.errors import SpecError
from evermodel.core.extras import named_extras
from evermodel.core.paths import inside
from evermodel.core.storage import StoragePath
from evermodel.data.prediction_log import log_of, log_schema, write_file
from evermodel.data.table_file import FileEntry, TableFile
from evermodel.modeling import model_store
from evermodel.modeling.scoring.scorer import Scorer, read_scorer
from evermodel.registry.registry import ModelRegistry
from evermodel.spec import ModelSpec
from evermodel.spec.source import FilesSource, IbisSource
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.registry.client import MlflowClient

_TYPES = {"string": "string", "double": "double", "timestamp[us, tz=UTC]": "timestamp"}


class SparkDay(NamedTuple):
    """A day's files in the log, and the rows and the sum of the scores that they hold."""

    version: str
    files: tuple[StoragePath, ...]
    rows: int
    total: float


def write_on_spark(
    spec: ModelSpec, window: Window, client: MlflowClient, lake: StoragePath
) -> SparkDay | None:
    """Have Spark's workers score a day and write it to the log instead of what it has of that day; None without a row.

    Each of their tasks writes one file. Only the files of tasks that ended well are in the commit: what others leave does
    not count, and `compact` removes it.

    Raises
    ------
    NoChampionError
        Nothing serves yet.
    SpecError
        Spark cannot read the source.
    """
    version = ModelRegistry(client).read(spec.name).require_champion()
    rows = source_rows(spec, window, session_of(f"score_{spec.name}", spec.score.spark))
    with tempfile.TemporaryDirectory() as name:
        model_store.download(client, f"models:/{spec.name}/{version}", Path(name))
        parcel = Parcel.of(spec, version, Path(name))
    table, day, log = log_of(spec, lake), window.start.date(), log_schema(spec)

    def write(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.compute as pc

        found: list[tuple[int, float]] = []

        def counted() -> Iterator[pa.Table]:
            for part in parcel.answers(batches):
                found.append((part.num_rows, pc.sum(part["score"]).as_py()))
                yield part

        parts = counted()
        first = next(parts, None)
        if first is not None:
            file = TableFile.new(table.root, day, "batch")
            write_file(log, file.path, chain([first], parts))
            entry = json.dumps(file.entry(table.root).to_json())
            counts, totals = zip(*found, strict=True)
            yield pa.RecordBatch.from_pylist([{"entry": entry, "rows": sum(counts), "total": sum(totals)}])

    done = rows.mapInArrow(write, "entry string, rows bigint, total double").collect()
    if not done:
        return None
    entries = [FileEntry.from_json(json.loads(task["entry"])) for task in done]
    table.replace_all(entries, log)
    files = tuple(inside(table.root, entry.path) for entry in entries)
    count, total = sum(task["rows"] for task in done), math.fsum(task["total"] for task in done)
    return SparkDay(version, files, count, total)


def score_frame(spec: ModelSpec, version: str, folder: Path, rows: Any) -> Any:
    """Score a Spark DataFrame, and return rows of the prediction log as another, lazily.

    Parameters
    ----------
    folder
        The downloaded model; its files travel to the workers with the job.
    rows
        Id, time and features.
    """
    parcel, log = Parcel.of(spec, version, folder), log_schema(spec)

    def answer(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for table in parcel.answers(batches):
            yield from table.cast(log).to_batches()

    schema = ", ".join(f"`{field.name}` {_TYPES[str(field.type)]}" for field in log)
    return rows.mapInArrow(answer, schema)


class Parcel:
    """A model on its way to Spark's workers; each of their processes unpacks it once."""

    def __init__(self, spec: str, version: str, files: dict[str, bytes]) -> None:
        self.spec, self.version, self.files = spec, version, files
        digest = hashlib.sha256(spec.encode() + version.encode())
        for name, content in files.items():
            digest.update(name.encode() + content)
        self.digest = digest.hexdigest()

    @classmethod
    def of(cls, spec: ModelSpec, version: str, folder: Path) -> Parcel:
        """Take the files of a downloaded model."""
        files = {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
        return cls(spec.model_dump_json(), version, files)

    def answers(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        """Score batches of rows of the source."""
        return (self.scorer().score(batch) for batch in batches if batch.num_rows)

    def scorer(self) -> Scorer:
        """Return the scorer, made from the files when this process first needs it."""
        if self.digest not in _unpacked:
            with tempfile.TemporaryDirectory() as name:
                for path, content in self.files.items():
                    target = Path(name) / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
                spec = ModelSpec.model_validate_json(self.spec)
                _unpacked[self.digest] = read_scorer(spec, self.version, Path(name))
        return _unpacked[self.digest]


_unpacked: dict[str, Scorer] = {}


def session_of(name: str, place: str | None) -> Any:
    """Return Spark's session, in UTC.

    Parameters
    ----------
    name
        Of the application, for Spark's pages.
    place
        Its master or its ``sc://`` address; None for what Spark's own settings say.

    Raises
    ------
    MissingExtraError
        pyspark is not installed.
    """
    with named_extras():
        from pyspark.sql import SparkSession
    builder = SparkSession.builder
    if place is not None:
        builder = builder.remote(place) if place.startswith("sc://") else builder.master(place)
    session = builder.appName(name).getOrCreate()
    if place is not None and place.startswith("local") and "PYSPARK_PYTHON" not in os.environ:
        # Its workers have to be this Python, which has this package, and not the first one in the PATH.
        session.sparkContext.pythonExec = sys.executable
    session.conf.set("spark.sql.session.timeZone", "UTC")
    session.conf.set("spark.sql.parquet.outputTimestampType", "TIMESTAMP_MICROS")
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "16384")
    return session


def source_rows(spec: ModelSpec, window: Window, session: Any) -> Any:
    """Return a window's rows of a source that Spark reads itself, without the label.

    Raises
    ------
    SpecError
        Only this process can read the source.
    """
    columns = [name for name in spec.columns if name != spec.label.column]
    source = spec.source
    in_spark = (
        isinstance(source, IbisSource) and source.url.startswith("pyspark://") and source.connection is None
    )
    if isinstance(source, IbisSource) and in_spark and source.feast is None:
        from evermodel.data.sources.ibis import IbisRelation

        return IbisRelation(spec, source).on_spark(window, columns)
    plain = isinstance(source, FilesSource) and source.query is None and not spec.joined
    if plain and isinstance(source, FilesSource) and ".csv" not in source.path:
        return _between(session.read.parquet(local_path(source.path)), spec, window, columns)
    raise SpecError(
        f"model {spec.name}: `score.engine: spark` cannot read {source.told}",
        "Spark reads Parquet files without a `query`, and `kind: ibis` with `url: pyspark://`, without `feast`; or use `engine: local`",
    )


def _between(frame: Any, spec: ModelSpec, window: Window, columns: Sequence[str]) -> Any:
    from pyspark.sql import functions

    time_column = functions.col(f"`{spec.time_column}`").cast("timestamp")
    inside = (time_column >= functions.lit(window.start)) & (time_column < functions.lit(window.end))
    picked = [functions.col(f"`{name}`") for name in columns if name != spec.time_column]
    return frame.where(inside).select(*picked, time_column.alias(spec.time_column))


def local_path(path: str) -> str:
    """Return a path as Spark takes it: it would look for one without a scheme where the cluster keeps its files."""
    return path if "://" in path else f"file://{Path(path).absolute()}"
