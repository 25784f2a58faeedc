"""Data in: a snapshot beside a plain extract, tracking it beside DVC's own commands, and eight writers at once."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import duckdb

from benchmarks.outcome import Outcome

WRITERS = 8
NUMBERS, CATEGORIES = 12, 4
_DAYS = 63
# Each measurement is a process of its own, as a task of Airflow is, so that nothing is warm and memory is its own.
_OURS = """
import resource, sys
from pathlib import Path
from evermodel.core.settings import Settings
from evermodel.data.snapshots.snapshot import take_snapshot
from evermodel.spec import ModelSpec
from evermodel.data.snapshots.dvc import SnapshotStore
from evermodel.spec.window import parse_moment

what, source, home = sys.argv[1:]
settings = Settings.from_environment({"EVERMODEL_HOME": home})
if what == "track":
    SnapshotStore(settings.lake, settings.dvc_remote).track(Path(source))
else:
    SnapshotStore.track = lambda self, file: ""
    data = {
        "name": "bench", "source": {"path": source}, "time_column": "at", "id_column": "id",
        "label": {"column": "late"}, "split": {"train": "7w", "validation": "1w", "test": "1w"},
        "features": {"numeric": [f"n{i}" for i in range(12)], "categorical": [f"c{i}" for i in range(4)]},
        "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}],
    }
    taken = take_snapshot(ModelSpec.model_validate(data), parse_moment("2024-03-04"), settings)
    print(settings.lake / taken.path)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_PANDAS = """
import resource, sys
import pandas as pd

frame = pd.read_parquet(sys.argv[1])
frame = frame[frame["late"].notna()].sort_values(["at", "id"])
frame.to_parquet(sys.argv[2], compression="zstd", index=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
_DVC = [sys.executable, "-m", "dvc"]
_ENV = {**os.environ, "DVC_NO_ANALYTICS": "1"}


def run(small: bool) -> Outcome:
    """Measure, alternately, ours and what one would do without it."""
    rows, tracked, times = (20_000, 20_000, 1) if small else (10_000_000, 1_000_000, 3)
    with tempfile.TemporaryDirectory(prefix="evermodel-bench-") as name:
        folder = Path(name)
        source = _rows(folder / "source.parquet", rows)
        file, snapshot = _snapshot(source, folder)
        pandas = _pandas(_rows(folder / "tracked.parquet", tracked), folder)
        ours_small, ours_small_run = _snapshot(folder / "tracked.parquet", folder)
        track, plain = _tracking(ours_small, folder, times)
        failures, plain_failures, concurrent = _concurrent(ours_small, folder)
        megabytes = file.stat().st_size / 1e6
    return Outcome(
        peer="pandas for the extract, `dvc add` and `dvc push` for the versions",
        ratios={
            "snapshot_vs_pandas": pandas[0] / ours_small_run[0],
            "snapshot_memory_vs_pandas": pandas[1] / ours_small_run[1],
            "track_vs_dvc_commands": plain / track,
        },
        figures={
            "snapshot_rows": rows,
            "snapshot_seconds": snapshot[0],
            "snapshot_rows_per_second": rows / snapshot[0],
            "snapshot_peak_memory_mb": snapshot[1],
            "snapshot_file_mb": megabytes,
            "peer_rows": tracked,
            "track_seconds": track,
            "dvc_commands_seconds": plain,
            "concurrent_writers": WRITERS,
            "concurrent_failures": failures,
            "concurrent_seconds": concurrent,
            "dvc_commands_concurrent_failures": plain_failures,
        },
        header=["step", "ours", "peer", "rows"],
        rows=[
            ["extract, sort, write", f"{snapshot[0]:.1f} s, {snapshot[1]:.0f} MB", "", f"{rows:,}"],
            [
                "extract, sort, write",
                f"{ours_small_run[0]:.1f} s, {ours_small_run[1]:.0f} MB",
                f"{pandas[0]:.1f} s, {pandas[1]:.0f} MB (pandas)",
                f"{tracked:,}",
            ],
            ["add and push", f"{track:.1f} s", f"{plain:.1f} s (two commands)", f"{tracked:,}"],
            [
                f"{WRITERS} at once: failures",
                f"{failures} in {concurrent:.1f} s",
                f"{plain_failures} (dvc add)",
                "",
            ],
        ],
        notes=("", "Whole processes, with their imports; add and push: median of alternating runs."),
    )


def _rows(file: Path, rows: int) -> Path:
    """Write rows of nine weeks, in no order, as a warehouse exports them."""
    numbers = ", ".join(f"random() AS n{i}" for i in range(NUMBERS))
    categories = ", ".join(f"'category ' || (random() * 50)::INT AS c{i}" for i in range(CATEGORIES))
    with duckdb.connect() as duck:
        duck.execute("SELECT setseed(0.5)")
        duck.execute(
            "COPY (SELECT 'r' || i AS id, TIMESTAMPTZ '2024-01-01 00:00:00+00' "
            f"+ to_seconds(random() * {_DAYS * 86_400}) AS at, {numbers}, {categories}, "
            f"(random() < 0.3)::INT AS late FROM range({rows}) AS r(i)) TO '{file}' (COMPRESSION zstd)"
        )
    return file


def _timed(command: list[str], cwd: Path | None = None) -> tuple[float, list[str]]:
    start = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=_ENV, check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout.splitlines()


def _snapshot(source: Path, folder: Path) -> tuple[Path, tuple[float, float]]:
    seconds, said = _timed([sys.executable, "-c", _OURS, "snapshot", str(source), str(folder / "home")])
    return Path(said[-2]), (seconds, int(said[-1]) / 1024)


def _pandas(source: Path, folder: Path) -> tuple[float, float]:
    seconds, said = _timed([sys.executable, "-c", _PANDAS, str(source), str(folder / "pandas.parquet")])
    return seconds, int(said[-1]) / 1024


def _tracking(file: Path, folder: Path, times: int) -> tuple[float, float]:
    ours, plain = [], []
    for number in range(times):
        lake = folder / f"ours-{number}" / "lake"
        ours.append(_timed(_track_command(_copy(file, lake / "snapshots" / "bench"), lake.parent))[0])
        project = _plain_project(folder / f"plain-{number}")
        copy = _copy(file, project)
        seconds = _timed([*_DVC, "add", copy.name], project)[0]
        plain.append(seconds + _timed([*_DVC, "push", f"{copy.name}.dvc"], project)[0])
    return median(ours), median(plain)


def _track_command(file: Path, home: Path) -> list[str]:
    return [sys.executable, "-c", _OURS, "track", str(file), str(home)]


def _plain_project(folder: Path) -> Path:
    folder.mkdir()
    _timed([*_DVC, "init", "--no-scm", "-q"], folder)
    _timed([*_DVC, "remote", "add", "-d", "-q", "lake", str(folder.with_suffix(".remote"))], folder)
    return folder


def _copy(file: Path, folder: Path, number: int = 0) -> Path:
    """Copy a file and make the copy another content."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{number}.parquet"
    target.write_bytes(file.read_bytes() + bytes([number]))
    return target


def _concurrent(file: Path, folder: Path) -> tuple[int, int, float]:
    """Let eight processes track a file each, at the same moment: ours, and `dvc add`."""
    home = folder / "many"
    files = [_copy(file, home / "lake" / "snapshots" / "bench", number) for number in range(WRITERS)]
    start = time.perf_counter()
    failures = _at_once([_track_command(one, home) for one in files])
    seconds = time.perf_counter() - start
    pushed = len(list((home / "dvc-remote" / "files" / "md5").glob("*/*")))
    project = _plain_project(folder / "plain-many")
    copies = [_copy(file, project, number) for number in range(WRITERS)]
    plain = _at_once([[*_DVC, "--cd", str(project), "add", "-q", copy.name] for copy in copies])
    return max(failures, WRITERS - pushed), plain, seconds


def _at_once(commands: list[list[str]]) -> int:
    started = [
        subprocess.Popen(command, env=_ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for command in commands
    ]
    return sum(process.wait() != 0 for process in started)
