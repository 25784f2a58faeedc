"""Five hundred specs: what reading each DAG file costs, all of it and for one run, and what a broken spec breaks."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.outcome import Outcome
from benchmarks.whole_process import measure

_PROJECT = Path(__file__).parents[1]
_LIMIT = 30.0  # Airflow's core.dagbag_import_timeout, seconds a file

# Airflow's dag-processor imports what DAG files share once, and forks a process for each file; so does this.
_PROGRAM = """
import json, os, resource, sys, time
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import BaseOperator
import evermodel.spec

def memory():  # of this process now, in MB
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

def look(file):
    before = memory()
    start, processor = time.perf_counter(), time.process_time()
    bag = DagBag(file)
    return {
        "seconds": time.perf_counter() - start,
        "processor": time.process_time() - processor,
        "megabytes": memory() - before,
        "dags": sorted(bag.dags),
        "errors": bag.import_errors,
    }

for file, dag_id in json.loads(sys.argv[1]):
    if os.fork() == 0:
        if dag_id:
            os.environ["_AIRFLOW_PARSING_CONTEXT_DAG_ID"] = dag_id
        print(json.dumps(look(file)), flush=True)
        os._exit(0)
    os.wait()
"""


def run(small: bool) -> Outcome:
    """Read every DAG file over all specs, then each for one run, then all again with a broken spec among them."""
    count = 20 if small else 500
    files = sorted((_PROJECT / "dags").glob("*.py"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "models").mkdir()
        for number in range(count):
            _write(folder, f"model_{number:03d}")
        whole = _read([(file, "") for file in files], folder)
        runs = {file: f"{file.stem}_model_007" for file in files}
        runs = {file: dag for file, dag in runs.items() if dag in whole[file.stem]["dags"]}
        one_run = _read(list(runs.items()), folder)
        broken = _write(folder, "model_007", broken=True)
        after = _read([(file, "") for file in files], folder)
    return _outcome(count, whole, one_run, after, broken)


def _write(folder: Path, name: str, broken: bool = False) -> Path:
    text = (_PROJECT / "include" / "models" / "flights.yaml").read_text(encoding="utf-8")
    text = text.replace("name: flights", f"name: {name}", 1)
    file = folder / "models" / f"{name}.yaml"
    file.write_text(text.replace("margin:", "marjin:") if broken else text, encoding="utf-8")
    return file


def _read(jobs: list[tuple[Path, str]], folder: Path) -> dict[str, dict[str, Any]]:
    """Read files, each as a whole or for the one DAG that is named, and return what was found for each."""
    settings = {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
        "EVERMODEL_MODELS": str(folder / "models"),
        "EVERMODEL_HOME": str(folder / "home"),
    }
    with mock.patch.dict(os.environ, settings):
        said = measure(_PROGRAM, [json.dumps([(str(file), dag) for file, dag in jobs])], folder).said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith('{"seconds"')]
    return {file.stem: found for (file, _), found in zip(jobs, lines, strict=True)}


def _outcome(
    count: int,
    whole: dict[str, dict[str, Any]],
    one_run: dict[str, dict[str, Any]],
    after: dict[str, dict[str, Any]],
    broken: Path,
) -> Outcome:
    dags = {dag for found in whole.values() for dag in found["dags"]}
    gone = dags - {dag for found in after.values() for dag in found["dags"]}
    errors = {stem: text for stem, found in after.items() for text in found["errors"].values()}
    named = [stem for stem, text in errors.items() if f"{broken}: line " in text and "marjin" in text]
    if named != ["broken_specs"] or any("model_007" not in dag for dag in gone):
        raise RuntimeError(f"a broken spec took {sorted(gone)} with it; errors in {sorted(errors)}")
    slowest = max(whole.values(), key=lambda found: found["seconds"])
    rows = [
        (
            f"{stem}.py",
            str(len(found["dags"])),
            f"{found['seconds']:.2f} s",
            f"{found['processor']:.2f} s",
            f"{found['megabytes']:.0f} MB",
            f"{1000 * one_run[stem]['seconds']:.0f} ms" if stem in one_run else "",
        )
        for stem, found in whole.items()
    ]
    return Outcome(
        peer=f"Airflow's own limit of {_LIMIT:.0f} s a file",
        ratios={"limit_vs_slowest_file": _LIMIT / slowest["seconds"]},
        figures={
            "specs": count,
            "dags": len(dags),
            "seconds": sum(found["seconds"] for found in whole.values()),
            "processor_seconds": sum(found["processor"] for found in whole.values()),
            "seconds_slowest_file": slowest["seconds"],
            "seconds_one_run": max(found["seconds"] for found in one_run.values()),
            "processor_seconds_one_run": max(found["processor"] for found in one_run.values()),
            "memory_mb": max(found["megabytes"] for found in whole.values()),
            "dags_lost_by_a_broken_spec": len(gone),
        },
        header=("file", "DAGs", "all", "processor", "memory", "one run"),
        rows=rows,
        notes=[
            f"{count} specs; a forked process for each file, as in Airflow's dag-processor. One run: "
            "what a task's worker reads. Then one spec was broken: only its own DAGs are gone, and the import error of "
            "broken_specs.py names the file and the line."
        ],
    )
