"""Validation as a whole process, beside pandera on pandas with the same schema file; dirty beside clean; memory."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.outcome import Outcome

NUMBERS, CATEGORIES = 12, 8
BAD = 0.05
_CHUNK = 500_000
_OURS = """
import sys
from pathlib import Path
from evermodel.spec import load_spec
from evermodel.data.validation import validate
from evermodel.data.validation.schema_file import read_schema
file, spec, schema = map(Path, sys.argv[1:])
report = validate(load_spec(spec), file, read_schema(schema)).report
print(report.verdict, len(report.checks))
"""
_PEER = """
import sys
import pandas as pd
import pandera.pandas as pa
file, spec, schema = sys.argv[1:]
try:
    pa.DataFrameSchema.from_yaml(schema).validate(pd.read_parquet(file), lazy=True)
    print("passed")
except pa.errors.SchemaErrors as error:
    print("failed", len(error.failure_cases))
"""
_INFER = """
import sys
from pathlib import Path
from evermodel.spec import load_spec
from evermodel.data.validation import validate
from evermodel.data.validation.infer import infer_schema
from evermodel.data.validation.schema_file import to_yaml
file, spec, schema = map(Path, sys.argv[1:])
wanted = load_spec(spec)
schema.write_text(to_yaml(infer_schema(wanted, validate(wanted, file).profile)))
"""


@dataclass(frozen=True)
class Measure:
    """One process: seconds on the clock and of processor time, peak memory in MB, and what it printed."""

    seconds: float
    processor: float
    memory: float
    said: str


@dataclass(frozen=True)
class Place:
    """The files of the benchmark."""

    folder: Path

    def run(self, program: str, data: str) -> Measure:
        """Run a program over one data file as a process of its own."""
        files = [
            self.folder / f"{data}.parquet",
            self.folder / "bench.yaml",
            self.folder / "bench.schema.yaml",
        ]
        return _process([sys.executable, "-c", program, *map(str, files)], self.folder / "said.txt")


def run(small: bool) -> Outcome:
    """Measure clean and dirty data side by side, and memory at ten times the rows."""
    rows, times = (20_000, 1) if small else (1_000_000, 5)
    with tempfile.TemporaryDirectory(prefix="evermodel-bench-") as folder:
        place = Place(Path(folder))
        _write_spec(place.folder / "bench.yaml")
        write_rows(place.folder / "clean.parquet", rows, bad=0.0)
        write_rows(place.folder / "dirty.parquet", rows, bad=BAD)
        place.run(_INFER, "clean")
        found: dict[str, list[Measure]] = {"ours": [], "ours dirty": [], "pandera": []}
        for _ in range(times):  # alternately, so that whatever else the machine does hits all of them
            found["ours"].append(place.run(_OURS, "clean"))
            found["pandera"].append(place.run(_PEER, "clean"))
            found["ours dirty"].append(place.run(_OURS, "dirty"))
        found["pandera dirty"] = [place.run(_PEER, "dirty")]
        (place.folder / "dirty.parquet").unlink()
        write_rows(place.folder / "large.parquet", 10 * rows, bad=0.0)
        found["ours, ten times the rows"] = [place.run(_OURS, "large")]
    return _outcome(rows, found)


def _outcome(rows: int, found: dict[str, list[Measure]]) -> Outcome:
    seconds = {name: statistics.median(m.seconds for m in measures) for name, measures in found.items()}
    processor = {name: statistics.median(m.processor for m in measures) for name, measures in found.items()}
    memory = {name: max(m.memory for m in measures) for name, measures in found.items()}
    return Outcome(
        peer="pandera on pandas, with the same schema file",
        ratios={
            "total_vs_pandera": seconds["pandera"] / seconds["ours"],
            "dirty_vs_clean": seconds["ours dirty"] / seconds["ours"],
            "dirty_vs_pandera": seconds["pandera dirty"] / seconds["ours dirty"],
            "processor_vs_pandera": processor["pandera"] / processor["ours"],
            "memory_vs_pandera": memory["pandera"] / memory["ours"],
        },
        figures={
            "rows": rows,
            "seconds": seconds["ours"],
            "seconds_dirty": seconds["ours dirty"],
            "seconds_pandera": seconds["pandera"],
            "processor_seconds": processor["ours"],
            "processor_seconds_pandera": processor["pandera"],
            "peak_memory_mb": memory["ours"],
            "rows_large": 10 * rows,
            "seconds_large": seconds["ours, ten times the rows"],
            "peak_memory_mb_large": memory["ours, ten times the rows"],
        },
        header=["process", "seconds (median)", "fastest", "processor", "peak memory MB", "said"],
        rows=[
            [
                name,
                f"{seconds[name]:.2f}",
                f"{min(m.seconds for m in measures):.2f}",
                f"{processor[name]:.2f}",
                f"{memory[name]:.0f}",
                measures[-1].said,
            ]
            for name, measures in found.items()
        ],
        notes=(
            "",
            f"{rows:,} rows, {NUMBERS} numbers and {CATEGORIES} categories beside id, time and label; dirty: {BAD:.0%} of all",
            "cells are bad. Seconds are those of a whole process, from its start. Ours also judges shares of nulls, balance of",
            "the label, rows, variants, identifiers and leaks, for which a pandera schema has no words.",
        ),
    )


def write_rows(file: Path, rows: int, bad: float) -> None:
    """Write a snapshot of normal numbers and even categories, the same for the same arguments."""
    generator = np.random.default_rng(7)
    writer: pq.ParquetWriter | None = None
    for start in range(0, rows, _CHUNK):
        table = pa.table(dict(_columns(generator, start, min(_CHUNK, rows - start), bad)))
        writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd", store_schema=False)
        writer.write_table(table, row_group_size=100_000)
    if writer is not None:
        writer.close()


def _columns(
    generator: np.random.Generator, start: int, rows: int, bad: float
) -> Iterator[tuple[str, pa.Array]]:
    numbers = np.arange(start, start + rows)
    yield "id", pa.array([f"r{n:09d}" for n in numbers])
    yield "at", pa.array(1_704_067_200_000_000 + numbers * 500_000, pa.timestamp("us", "UTC"))
    for column in range(NUMBERS):
        values = generator.normal(50, 10, rows)
        values[generator.random(rows) < bad] = 9999.0
        yield f"n{column}", pa.array(values, mask=generator.random(rows) < 0.02)
    for column in range(CATEGORIES):
        names = [f"c{column}_{value}" for value in range(5 + 6 * column)]
        codes = generator.integers(0, len(names), rows)
        codes[generator.random(rows) < bad] = len(names)
        yield f"c{column}", pa.DictionaryArray.from_arrays(codes, [*names, "WRONG"]).cast(pa.string())
    yield "label", pa.array((generator.random(rows) < 0.2).astype("int8"))


def _write_spec(file: Path) -> None:
    spec = {
        "name": "bench",
        "source": {"path": "unused.parquet"},
        "time_column": "at",
        "id_column": "id",
        "label": {"column": "label"},
        "features": {
            "numeric": [f"n{column}" for column in range(NUMBERS)],
            "categorical": [f"c{column}" for column in range(CATEGORIES)],
        },
        "candidates": [{"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}],
    }
    file.write_text(yaml.safe_dump(spec))


def _process(command: list[str], output: Path) -> Measure:
    """Run a process to its end; the kernel tells its peak memory."""
    start = time.perf_counter()
    with output.open("wb") as said:
        process = os.posix_spawn(
            command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, said.fileno(), 1)]
        )
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{json.dumps(list(command)[:3])} ended with status {status}")
    processor = usage.ru_utime + usage.ru_stime
    return Measure(seconds, processor, usage.ru_maxrss / 1024, output.read_text().strip())
