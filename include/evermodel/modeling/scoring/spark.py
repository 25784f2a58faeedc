"""The same scoring as a job of Spark: its workers answer Arrow batches, and their files become the day's one file."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.atomic import sweep
from evermodel.core.errors import SpecError
from evermodel.core.extras import named_extras
from evermodel.core.settings import Settings
from evermodel.data.prediction_log import log_folder, log_schema
from evermodel.modeling import model_store
from evermodel.modeling.scoring.scorer import Scorer, read_scorer
from evermodel.registry.registry import ModelRegistry
from evermodel.spec import ModelSpec
from evermodel.spec.source import FilesSource, IbisSource
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.registry.client import MlflowClient

_PARTS = ".spark-"
_TYPES = {"string": "string", "double": "double", "timestamp[us, tz=UTC]": "timestamp"}
_BATCH_ROWS = 65_536


def score_frame(spec: ModelSpec, version: str, folder: Path, rows: Any) -> Any:
    """Score a Spark DataFrame, and return rows of the prediction log as another, lazily.

    Parameters
    ----------
    folder
        The downloaded model; its files travel to the workers with the job.
    rows
        Id, time and features.
    """
    files = {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
    parcel = Parcel(spec.model_dump_json(), version, files)

    def answer(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = parcel.scorer()
        for batch in batches:
            yield from scorer.score(batch).cast(log).to_batches()

    log = log_schema(spec)
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


class SparkDay:
    """One day's job: the champion's answers as Parquet files of Spark's, which are gone when this is left."""

    def __init__(self, spec: ModelSpec, window: Window, client: MlflowClient, settings: Settings) -> None:
        if not isinstance(settings.lake, Path):
            raise SpecError(
                f"model {spec.name}: `score.engine: spark` cannot write to a lake in a bucket",
                "use `engine: local`, or a lake in a folder that Spark's workers share",
            )
        self.spec, self.window = spec, window
        self.version = ModelRegistry(client).read(spec.name).require_champion()
        self._client = client
        self._log = log_folder(spec, settings.lake)
        self._parts = self._log / f"{_PARTS}{uuid.uuid4().hex}"

    def __enter__(self) -> Iterator[pa.Table]:
        """Run the job, and return its rows as a stream."""
        sweep(self._log, f"{_PARTS}*", older_than=86_400)
        with tempfile.TemporaryDirectory() as name:
            uri = f"models:/{self.spec.name}/{self.version}"
            model_store.download(self._client, uri, Path(name))
            answers = score_frame(
                self.spec,
                self.version,
                Path(name),
                source_rows(self.spec, self.window, session_of(self.spec)),
            )
        answers.write.option("compression", "zstd").parquet(local_path(str(self._parts)))
        return self._tables()

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self._parts, ignore_errors=True)

    def _tables(self) -> Iterator[pa.Table]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = log_schema(self.spec)
        for file in sorted(self._parts.glob("part-*.parquet")):
            with pq.ParquetFile(file) as part:
                for batch in part.iter_batches(_BATCH_ROWS):
                    yield pa.Table.from_batches([batch]).cast(schema)


def session_of(spec: ModelSpec) -> Any:
    """Return Spark's session, in UTC.

    Raises
    ------
    MissingExtraError
        pyspark is not installed.
    """
    with named_extras():
        from pyspark.sql import SparkSession
    builder, place = SparkSession.builder, spec.score.spark
    if place is not None:
        builder = builder.remote(place) if place.startswith("sc://") else builder.master(place)
    session = builder.appName(f"score_{spec.name}").getOrCreate()
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
    if isinstance(source, IbisSource) and source.url.startswith("pyspark://") and source.connection is None:
        from evermodel.data.sources.ibis import IbisRelation

        return IbisRelation(spec, source).on_spark(window, columns)
    plain = isinstance(source, FilesSource) and source.query is None and not spec.features.aggregates
    if plain and isinstance(source, FilesSource) and ".csv" not in source.path:
        return _between(session.read.parquet(local_path(source.path)), spec, window, columns)
    raise SpecError(
        f"model {spec.name}: `score.engine: spark` cannot read {source.told}",
        "Spark reads Parquet files without a `query`, and `kind: ibis` with `url: pyspark://`; or use `engine: local`",
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
