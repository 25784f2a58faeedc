"""Batch scoring as a stream against ``mlflow.pyfunc.load_model(...).predict`` on one frame: rows a second, and memory."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import duckdb
import yaml

from benchmarks.outcome import Outcome
from benchmarks.published import CATEGORICAL, NUMERIC, Published, published
from benchmarks.whole_process import Measure, measure

DAY = "2024-03-01"
_SIZES = (1_000_000, 5_000_000, 20_000_000)
_COMPARED = 1_000_000  # rows that both score; the peer needs 5 GB for them
_NAMES = [*"abcdefghijklmnopqrstuvwxyz", *(f"z{i}" for i in range(14))]

# What the task `score` does, from the registry to the file in the prediction log; both say the seconds of their work,
# without imports and without fetching the model: what either would import later is imported before.
SCORE_DAY = """
import evermodel  # before Arrow, as in a task
import json, sys, time
from datetime import timedelta

import deltalake.transaction, onnx, pandas, pyarrow.compute, pyarrow.parquet
import evermodel.modeling.onnx.kernel
from evermodel.registry import tracking
from evermodel.modeling.scoring import day as scoring
from evermodel.core.settings import Settings
from evermodel.spec import load_spec
from evermodel.spec.window import parse_moment

settings = Settings.from_environment()
spec = load_spec("bench", settings)
client = tracking.connect(settings.tracking_uri)
load, begun = scoring.load_champion, []

def loaded(*arguments):
    scorer = load(*arguments)
    begun[:] = [time.perf_counter(), time.process_time()]
    return scorer

scoring.load_champion = loaded
found = scoring.score_day(spec, parse_moment(sys.argv[1]) + timedelta(days=1), client, settings)
seconds, processor = time.perf_counter() - begun[0], time.process_time() - begun[1]
print(json.dumps({"seconds": seconds, "processor": processor, "rows": found.rows, "mean": found.mean_score}))
"""
_PYFUNC = """
import json, sys, time
import mlflow
import pandas as pd
import pyarrow.compute, pyarrow.parquet

model = mlflow.pyfunc.load_model("models:/bench@champion")
start, begun = time.perf_counter(), time.process_time()
frame = pd.read_parquet(sys.argv[1])
scores = model.predict(frame.drop(columns=["id", "at"]))[:, 1]
pd.DataFrame({"id": frame["id"], "score": scores}).to_parquet(sys.argv[2])
seconds, processor = time.perf_counter() - start, time.process_time() - begun
print(json.dumps({"seconds": seconds, "processor": processor, "rows": len(frame), "mean": float(scores.mean())}))
"""


def run(small: bool) -> Outcome:
    """Score the same rows with both, alternately; then ours with more and more rows."""
    sizes = (20_000, 60_000) if small else _SIZES
    compared, rounds = (20_000, 1) if small else (_COMPARED, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with published(folder, 20 if small else 100) as world:
            world.publish(1)
            ours, theirs = [], []
            source = write_day(folder / "rows.parquet", compared)
            for _ in range(rounds):
                theirs.append(_pyfunc(world, source, folder))
                ours.append(score(world, source, folder))
            growth = {compared: ours[-1]}
            for size in sizes:
                if size not in growth:
                    growth[size] = score(world, write_day(source, size), folder)
    return _outcome(ours, theirs, growth, compared)


def write_day(file: Path, rows: int) -> Path:
    """Write one day's rows: 12 numbers (normal), 8 categories (5 to 40 names), 3 % of each missing."""
    normal = "sqrt(-2 * ln(1 - random())) * cos(6.283185307 * random())"
    columns = [f"CASE WHEN random() >= 0.03 THEN {normal} END AS {name}" for name in NUMERIC]
    columns += [
        f"CASE WHEN random() >= 0.03 THEN {_NAMES[: 5 * (i + 1)]!r}[1 + floor(random() * {5 * (i + 1)})::INT] END AS {name}"
        for i, name in enumerate(CATEGORICAL)
    ]
    with duckdb.connect() as duck:
        duck.execute("SELECT setseed(0.5)")
        duck.execute(
            f"COPY (SELECT 'r' || i AS id, TIMESTAMPTZ '{DAY} 00:00:00+00' "
            f'+ to_milliseconds((i * 86400000.0 / {rows})::BIGINT) AS "at", {", ".join(columns)} '
            f"FROM range({rows}) AS r(i)) TO '{file}' (COMPRESSION zstd)"
        )
    return file


def score(
    world: Published,
    source: Path,
    folder: Path,
    program: str = SCORE_DAY,
    environment: Mapping[str, str] | None = None,
) -> tuple[Measure, dict[str, float]]:
    """Score a day's file as the task does, in a process of its own.

    Parameters
    ----------
    environment
        Variables beside those of the world.
    """
    file = world.settings.models / "bench.yaml"
    spec = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**spec, "source": {"path": str(source)}}))
    return measured(program, [DAY], folder, {**world.environment, **(environment or {})})


def _pyfunc(world: Published, source: Path, folder: Path) -> tuple[Measure, dict[str, float]]:
    return measured(_PYFUNC, [source, folder / "pyfunc.parquet"], folder, world.environment)


def measured(
    program: str, arguments: list[str | Path], folder: Path, environment: Mapping[str, str]
) -> tuple[Measure, dict[str, float]]:
    """Run a program with an environment, and read the JSON of its last line."""
    # scikit-learn may use every core.
    threads = {"OMP_NUM_THREADS": str(os.cpu_count() or 1)}
    kept = dict(os.environ)
    os.environ.update({**environment, **threads})
    try:
        found = measure(program, arguments, folder)
    finally:
        os.environ.clear()
        os.environ.update(kept)
    return found, json.loads(found.said.splitlines()[-1])


Scored = tuple[Measure, dict[str, float]]


def _outcome(ours: list[Scored], theirs: list[Scored], growth: dict[int, Scored], rows: int) -> Outcome:
    mine, peer = (median(rows / said["seconds"] for _, said in found) for found in (ours, theirs))
    memory, peer_memory = (median(found.memory for found, _ in side) for side in (ours, theirs))
    sizes = sorted(growth)
    apart = max(abs(a["mean"] - b["mean"]) for (_, a), (_, b) in zip(ours, theirs, strict=True))
    table = [
        (f"pyfunc, {rows:,} rows", f"{peer:,.0f}", f"{peer_memory:,.0f} MB", *_seconds(theirs)),
        (f"ours, {rows:,} rows", f"{mine:,.0f}", f"{memory:,.0f} MB", *_seconds(ours)),
        *(
            (
                f"ours, {size:,} rows",
                f"{size / growth[size][1]['seconds']:,.0f}",
                f"{growth[size][0].memory:,.0f} MB",
                *_seconds([growth[size]]),
            )
            for size in sizes
            if size != rows
        ),
    ]
    return Outcome(
        peer="mlflow.pyfunc.load_model(...).predict on one frame",
        ratios={"rows_per_second_vs_pyfunc": mine / peer, "memory_vs_pyfunc": peer_memory / memory},
        figures={
            "rows_per_second": mine,
            "peer_rows_per_second": peer,
            "peak_memory_mb": max(found.memory for found, _ in growth.values()),
            "peer_peak_memory_mb": peer_memory,
            "memory_growth": growth[sizes[-1]][0].memory / growth[sizes[0]][0].memory,
            "largest_rows": sizes[-1],
            "largest_rows_per_second": sizes[-1] / growth[sizes[-1]][1]["seconds"],
            "whole_process_ratio": median(f.seconds for f, _ in theirs) / median(f.seconds for f, _ in ours),
            "processor_seconds": median(said["processor"] for _, said in ours),
            "peer_processor_seconds": median(said["processor"] for _, said in theirs),
            "processor_time_ratio": median(f.processor for f, _ in theirs)
            / median(f.processor for f, _ in ours),
            "mean_score_difference": apart,
        },
        header=("job", "rows/s", "peak memory", "whole process", "processor"),
        rows=table,
        notes=[
            "Histogram boosting, 100 trees; 12 numbers, 8 categories, 3 % missing; alternating processes, medians. Rows/s: from "
            "Parquet to Parquet without imports and fetching the model. Ours writes the whole prediction log (every feature); the "
            "peer writes id and score.",
        ],
    )


def _seconds(side: list[Scored]) -> tuple[str, ...]:
    return tuple(f"{median(getattr(f, name) for f, _ in side):.1f} s" for name in ("seconds", "processor"))
