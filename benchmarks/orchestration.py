"""What a scheduler adds: the example's retrain DAG, less the time of its work in one process, beside Airflow's defaults."""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from unittest import mock

import yaml

from benchmarks.outcome import Outcome
from benchmarks.whole_process import measure
from evermodel.cli.local_stack.airflow_api import AirflowApi
from evermodel.cli.local_stack.local import LocalStack
from evermodel.cli.local_stack.ports import Ports
from evermodel.cli.local_stack.processes import Service

_PROJECT = Path(__file__).parents[1]
_SAMPLE = _PROJECT / "tests" / "data" / "flights_sample.parquet"
_FIRST = datetime(2013, 3, 11, 6)
_OURS, _DEFAULT = "evermodel's local stack", "Airflow's default settings"

# What `make demo` and its like set; these are Airflow's own defaults again.
_DEFAULTS = {
    "AIRFLOW__CORE__PARALLELISM": "32",
    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "16",
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "airflow.utils.net.getfqdn",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "300",
    "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "5",
}
# The same steps in one process that has imported everything already: the first retrain warms up.
_PLAIN = """
import json, sys, time
from contextlib import contextmanager
from evermodel.registry import tracking
from evermodel.pipelines.retrain import Retrain
from evermodel.pipelines.run_retrain import run_retrain
from evermodel.core.settings import Settings
from evermodel.spec import load_spec
from evermodel.spec.window import parse_moment

@contextmanager
def step(name):
    yield lambda text: None

settings = Settings.from_environment()
seconds = []
for number, as_of in enumerate(sys.argv[1:]):
    start = time.perf_counter()
    spec, client = load_spec("plain", settings), tracking.connect(settings.tracking_uri)
    run_retrain(Retrain(spec, f"plain/{number}", parse_moment(as_of), "benchmark", client, settings), step, approved_by="auto")
    seconds.append(time.perf_counter() - start)
print(json.dumps(seconds))
"""


class _DefaultStack(LocalStack):
    """The same services without the imports ahead."""

    def services(self) -> list[Service]:
        """Return the services with the environment that they share, and nothing more."""
        return [replace(service, env=self.environment) for service in super().services()]


def run(small: bool) -> Outcome:
    """Let each stack retrain some weeks, and one plain process too; the first week of each warms up."""
    weeks = 2 if small else 4
    dates = [_FIRST + timedelta(weeks=week) for week in range(weeks)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = _project(folder)
        extras = {"EVERMODEL_DATA": str(folder / "data"), "EVERMODEL_MODELS": str(project / "models")}
        ours = LocalStack(folder / "ours", _PROJECT, Ports.unused(), extras)
        with ours:
            mine = _runs(ours.start(), dates)
            work = _plain(ours, folder, dates)
        default = _DefaultStack(folder / "default", _PROJECT, Ports.unused(), {**extras, **_DEFAULTS})
        with default:
            theirs = _runs(default.start(), dates)
    return _outcome({_OURS: mine, _DEFAULT: theirs}, work)


def _project(folder: Path) -> Path:
    """Put the example on its sample, which has 160 rows a week, under two names: for the DAG, and for the process."""
    for made in ("data", "project/models"):
        (folder / made).mkdir(parents=True)
    (folder / "data" / "flights.parquet").symlink_to(_SAMPLE)
    spec = yaml.safe_load((_PROJECT / "include" / "models" / "flights.yaml").read_text())
    spec["validation"]["min_rows"] = 200
    spec["gate"] |= {"floor": 0.5, "margin": 0.5, "max_calibration_error": None, "slices": []}
    for name in ("flights", "plain"):
        text = yaml.safe_dump({**spec, "name": name}, sort_keys=False)
        (folder / "project" / "models" / f"{name}.yaml").write_text(text)
    return folder / "project"


def _runs(api: AirflowApi, dates: list[datetime]) -> list[tuple[float, int]]:
    """Return the seconds from the trigger to the end of each run, without the first, and its number of tasks."""
    api.wait_for_dags(["retrain_flights"])
    for dag in api.dag_ids():
        if dag != "retrain_flights":
            api.pause(dag)
    time.sleep(2)  # what their schedules started ends
    found = []
    for date in dates:
        start = time.perf_counter()
        run = api.run("retrain_flights", logical_date=date, timeout=900)
        seconds = time.perf_counter() - start
        states = [task["state"] for task in api.task_instances("retrain_flights", run["dag_run_id"])]
        found.append((seconds, states.count("success")))
    return found[1:]


def _plain(stack: LocalStack, folder: Path, dates: list[datetime]) -> list[float]:
    with mock.patch.dict(os.environ, stack.environment):
        said = measure(_PLAIN, [date.isoformat() for date in dates], folder).said
    seconds: list[float] = json.loads(said.splitlines()[-1])
    return seconds[1:]


def _outcome(runs: dict[str, list[tuple[float, int]]], work: list[float]) -> Outcome:
    plain = median(work)
    wall = {name: median(seconds for seconds, _ in found) for name, found in runs.items()}
    over = {name: seconds - plain for name, seconds in wall.items()}
    tasks = runs[_OURS][-1][1]
    return Outcome(
        peer=_DEFAULT,
        ratios={"retrain_overhead_vs_default": over[_DEFAULT] / max(over[_OURS], 0.01)},
        figures={
            "seconds": wall[_OURS],
            "peer_seconds": wall[_DEFAULT],
            "plain_process_seconds": plain,
            "overhead_seconds": over[_OURS],
            "peer_overhead_seconds": over[_DEFAULT],
            "tasks": tasks,
            "overhead_seconds_a_task": over[_OURS] / tasks,
        },
        header=("retrain of flights", "whole run", "less the work", "a task"),
        rows=[
            ("one plain process", f"{plain:.1f} s", "", ""),
            *(
                (name, f"{wall[name]:.1f} s", f"{over[name]:.1f} s", f"{over[name] / tasks:.2f} s")
                for name in runs
            ),
        ],
        notes=[
            f"{len(work)} weeks each, medians, after one that warms up; {tasks} tasks, two of them candidates; the committed sample. "
            "From the request to the end of the run, on LocalExecutor and SQLite. The plain process has its imports done."
        ],
    )
