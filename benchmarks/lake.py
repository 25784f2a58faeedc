"""Scoring and the drift verdict with the lake in a bucket beside a folder, and the log's table beside plain files."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pyarrow.parquet as pq

from benchmarks.outcome import Outcome
from benchmarks.published import Published, published
from benchmarks.scoring import DAY, SCORE_DAY, measured, score, write_day
from benchmarks.whole_process import Measure
from evermodel.cli.local_stack.ports import free_port
from evermodel.cli.local_stack.processes import Service
from evermodel.data.day_table import DayTable

# An S3 server that tells how many bytes it has given out.
_S3 = """
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

backend, given = DomainDispatcherApplication(create_backend_app), [0]

def application(environ, start):
    if environ["PATH_INFO"] == "/given":
        start("200 OK", [("Content-Type", "text/plain")])
        return [str(given[0]).encode()]
    content = b"".join(backend(environ, start))
    if environ["REQUEST_METHOD"] == "GET":
        given[0] += len(content)
    return [content]

class Quiet(WSGIRequestHandler):
    def log_request(self, *arguments):
        pass

make_server("127.0.0.1", int(sys.argv[1]), application, threaded=True, request_handler=Quiet).serve_forever()
"""
# The same rows as one plain file, as before there was a table.
_SCORE_PLAIN = SCORE_DAY.replace(
    "found = scoring",
    """
from evermodel.data import prediction_log

def plain(spec, lake, day, tables):
    target = prediction_log.plain_file(spec, lake, day.isoformat())
    prediction_log.write_file(prediction_log.log_schema(spec), target, tables)
    return target

scoring.write_day = plain
found = scoring""",
)
_JUDGE = """
import json, sys, time
from evermodel.core.settings import Settings
from evermodel.data.prediction_log import files_of, log_schema
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.spec import load_spec
from evermodel.spec.window import last_day, parse_moment
from datetime import timedelta
from pathlib import Path

settings = Settings.from_environment()
spec = load_spec("bench", settings)
begun = time.perf_counter()
day = last_day(parse_moment(sys.argv[1]) + timedelta(days=1))
# The reference is on this machine, as a model's training rows are.
lakes = (Path(sys.argv[2]), settings.lake)
sides = [ParquetRows(files_of(spec, lake, day), day, "event_time", log_schema(spec)) for lake in lakes]
references = References(spec, day, "1", sides[0], day, Profiles(spec, settings.lake))
columns = judge_window(spec, references, sides[1])
print(json.dumps({"seconds": time.perf_counter() - begun, "rows": sides[1].num_rows, "columns": len(columns)}))
"""


@dataclass(frozen=True)
class Bucket:
    """An S3 server on loopback."""

    url: str

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to have its lake there."""
        return {
            "EVERMODEL_LAKE": "s3://bench/lake",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "anyone",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
            "NO_PROXY": "127.0.0.1",
        }

    def given(self) -> int:
        """Return the bytes that were fetched so far."""
        return int(httpx.get(f"{self.url}/given", trust_env=False).text)


@dataclass(frozen=True)
class Job:
    """What is measured in turn with the others."""

    name: str
    program: str
    environment: Mapping[str, str]
    arguments: tuple[str, ...] = ()


Found = tuple[Measure, dict[str, float], int]


def run(small: bool) -> Outcome:
    """Score the same day into a plain file, a table in a folder and one in a bucket; then judge it from both."""
    rows, rounds = (20_000, 1) if small else (1_000_000, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with published(folder, 20 if small else 100) as world:
            world.publish(1)
            bucket = _bucket(world)
            source = write_day(folder / "rows.parquet", rows)
            plain = {"EVERMODEL_LAKE": str(folder / "plain")}
            jobs = [
                Job("score, plain file", _SCORE_PLAIN, plain),
                Job("score, folder", SCORE_DAY, {}),
                Job("score, bucket", SCORE_DAY, bucket.environment),
            ]
            found = _in_turn(
                rounds, jobs, bucket, lambda job: score(world, source, folder, job.program, job.environment)
            )
            lake = str(world.settings.lake)
            jobs = [
                Job("verdict, folder", _JUDGE, {}, (lake,)),
                Job("verdict, bucket", _JUDGE, bucket.environment, (lake,)),
            ]

            def judge(job: Job) -> tuple[Measure, dict[str, float]]:
                return measured(
                    _JUDGE, [DAY, *job.arguments], folder, {**world.environment, **job.environment}
                )

            found |= _in_turn(rounds, jobs, bucket, judge)
            (file,) = DayTable(world.settings.lake / "predictions" / "bench").files()
            return _outcome(found, rows, *_sizes(file.path))


def _bucket(world: Published) -> Bucket:
    port = free_port()
    bucket = Bucket(f"http://127.0.0.1:{port}")
    command = (sys.executable, "-c", _S3, str(port))
    world.supervisor.start([Service("s3", command, world.environment, f"{bucket.url}/given")])
    httpx.put(f"{bucket.url}/bench", trust_env=False).raise_for_status()
    return bucket


def _in_turn(
    rounds: int, jobs: list[Job], bucket: Bucket, work: Callable[[Job], tuple[Measure, dict[str, float]]]
) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {job.name: [] for job in jobs}
    for _ in range(rounds):
        for job in jobs:
            before = bucket.given()
            found[job.name].append((*work(job), bucket.given() - before))
    return found


def _sizes(file: Any) -> tuple[int, int]:
    """Return the bytes of the columns that a verdict needs (features, score, time and version), and of all."""
    footer = pq.read_metadata(file)
    left_out = ("prediction_id", "predicted", "source", "request_id")
    columns = [
        footer.row_group(group).column(place)
        for group in range(footer.num_row_groups)
        for place in range(footer.num_columns)
    ]
    needed = [c.total_compressed_size for c in columns if c.path_in_schema not in left_out]
    return sum(needed), sum(column.total_compressed_size for column in columns)


def _outcome(found: dict[str, list[Found]], rows: int, needed: int, whole: int) -> Outcome:
    speed = {
        name: median(said["rows"] / said["seconds"] for _, said, _ in runs) for name, runs in found.items()
    }
    memory = {name: max(process.memory for process, _, _ in runs) for name, runs in found.items()}
    processor = {name: median(process.processor for process, _, _ in runs) for name, runs in found.items()}
    fetched = {name: median(given for _, _, given in runs) for name, runs in found.items()}
    return Outcome(
        peer="the same with the lake in a folder, and with one plain file a day",
        ratios={
            "scoring_s3_vs_local": speed["score, bucket"] / speed["score, folder"],
            "scoring_table_vs_plain": speed["score, folder"] / speed["score, plain file"],
            "scoring_table_vs_plain_processor": processor["score, plain file"] / processor["score, folder"],
            "verdict_s3_vs_local": speed["verdict, bucket"] / speed["verdict, folder"],
        },
        figures={
            "rows": rows,
            "drift_bytes_vs_columns": fetched["verdict, bucket"] / needed,
            "drift_bytes": fetched["verdict, bucket"],
            "column_bytes": needed,
            "file_bytes": whole,
            "scoring_fetched_bytes": fetched["score, bucket"],
            **{f"rows_per_second_{_key(name)}": value for name, value in speed.items()},
            **{f"memory_mb_{_key(name)}": value for name, value in memory.items()},
        },
        header=("job", "rows/s", "processor", "peak memory", "fetched from the bucket"),
        rows=[
            (
                name,
                f"{speed[name]:,.0f}",
                f"{processor[name]:.1f} s",
                f"{memory[name]:,.0f} MB",
                f"{fetched[name] / 1e6:,.1f} MB",
            )
            for name in found
        ],
        notes=[
            f"{rows:,} rows; alternating processes, medians. The bucket is moto's S3 server, in Python, on the same machine, which copies the whole object for each range that is read. Scoring is "
            "without imports and fetching the model. The columns that a verdict needs (features, score, time, version) are "
            f"{needed / 1e6:,.1f} of the file's {whole / 1e6:,.1f} MB.",
        ],
    )


def _key(name: str) -> str:
    return name.replace(",", "").replace(" ", "_")
