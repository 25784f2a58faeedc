"""The loop that every kind of model goes round, by the same calls as users: from a table without a spec to a rollback."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.data.dtypes import feature_frame
from evermodel.data.prediction_log import read_log
from evermodel.deployment.rollback import roll_back
from evermodel.modeling.model_store import download
from evermodel.modeling.scoring.day import score_day
from evermodel.modeling.scoring.loaded_version import ServedModel, read_served
from evermodel.pipelines import reproduce_worker
from evermodel.pipelines.drift import DriftRun
from evermodel.pipelines.reproduce import reproduce
from evermodel.pipelines.run_retrain import run_retrain
from evermodel.registry.registry import ModelRegistry
from evermodel.serving.app import create_app
from evermodel.serving.desired_state import RegistrySource
from evermodel.serving.preparation import PreparingSource
from evermodel.spec import ModelSpec
from evermodel.spec.window import last_day
from support.flights import World
from support.paths import SAMPLE

DRAFTED, LATER = datetime(2013, 4, 1, tzinfo=UTC), datetime(2013, 4, 10, tzinfo=UTC)
_COLUMNS = ["flight_id", "scheduled_at", "distance", "temp", "seats", "plane_age", "carrier", "origin"]
_LABELS = {"binary": "long_haul", "multiclass": "haul", "regression": "miles", "ranking": "relevance"}


class WholeLoop(NamedTuple):
    """What the loop leaves behind: the second version, its files, what it logged, and the verdict on those days."""

    world: World
    version: str
    served: ServedModel
    files: Path
    log: Any
    verdict: Any


def go_round(
    world: World,
    task: str,
    candidate: dict[str, Any],
    *,
    days: int = 1,
    evidence: bool = False,
    **sections: Any,
) -> WholeLoop:
    """Draft a spec, ship two versions through the gate, serve, judge their days, roll back, and make one again.

    Parameters
    ----------
    candidate, sections
        What a person changes in the draft: the only candidate, and fields of the spec.
    days
        How many days the second version scores.
    evidence
        Draw the decision page, too, which takes a third of a retrain's time.
    """
    drafted, first_day = _drafted(world, task, candidate, sections)
    with pytest.MonkeyPatch.context() as patch:
        if not evidence:
            patch.setattr("evermodel.pipelines.evaluate.record_evidence", lambda *_: None)
        first, version = (_shipped(drafted, first_day + timedelta(weeks=week)) for week in (0, 1))
    spec, client, files = drafted.spec, drafted.client, drafted.folder / "second"
    download(client, f"models:/{drafted.name}/{version}", files)
    with _serving(drafted) as served:
        moment = first_day + timedelta(weeks=1)
        for before in range(days):
            score_day(spec, moment - timedelta(days=before), client, drafted.settings)
        log = read_log(spec, drafted.settings.lake, last_day(moment)).to_pandas()
        rows = _requests(spec, log)
        _same_answers(log, _asked(served, rows), version)
        verdict = DriftRun(spec, moment, client, drafted.settings).judge()
        assert {one.column for one in verdict.columns} >= set(spec.features.names)

        roll_back(client, drafted.name, by="test", reason="worse", run_key="rollback/1")
        assert ModelRegistry(client).read(drafted.name).champion == first
        _wait_for(served, rows, first)
    again = _made_again(drafted, version)
    assert (again.identical, again.different_rows) == (True, 0), again.sentences()
    assert again.rows > 100
    return WholeLoop(drafted, version, read_served(spec, version, files), files, log, verdict)


def _drafted(
    world: World, task: str, candidate: dict[str, Any], sections: dict[str, Any]
) -> tuple[World, datetime]:
    """Let `evermodel init` propose a spec for flights of which it knows nothing, and put the candidate into it."""
    file = world.folder / "table.parquet"
    table = pq.read_table(SAMPLE).to_pandas()
    miles = table["distance"].to_numpy() + np.random.default_rng(1).normal(0, 200, len(table))
    labels = {
        "binary": np.where(miles > 900, "yes", "no"),
        "multiclass": np.array(["short", "middle", "long"])[np.digitize(miles, [600, 1200])],
        "regression": miles,
        "ranking": np.digitize(miles, [600, 900, 1500]),
    }
    rows = table[_COLUMNS].assign(**{_LABELS[task]: labels[task]})
    if task == "ranking":
        rows["board_id"] = table["scheduled_at"].dt.strftime("%Y-%m-%d ") + table["origin"]
    _write(rows, DRAFTED, file)
    name = f"{task}_{world.name}"
    done = CliRunner().invoke(app, ["init", str(file), "--label", _LABELS[task], "--name", name])
    assert done.exit_code == 0, done.output
    drafted = World(name, world.folder, world.settings, world.environment)
    assert drafted.spec.task == task
    _write(rows, LATER, file)  # days go by
    changes: dict[str, Any] = {
        "candidates": [candidate],
        "gate": {"margin": "50%", "resamples": 200},
        "drift": {"min_rows": 10, "window": "1d"},
        "respond": {"together": "off"},  # the classifier takes a third of the loop's time
        "performance": {"min_rows": 10},
    }
    drafted.change(**{**changes, **sections})
    return drafted, DRAFTED + drafted.spec.label.delay


def _write(rows: pd.DataFrame, end: datetime, file: Path) -> None:
    rows[rows["scheduled_at"] < pd.Timestamp(end)].to_parquet(file, index=False)


@contextmanager
def _silently(step: str) -> Iterator[Any]:
    yield lambda sentence: None


def _shipped(world: World, moment: datetime) -> str:
    """Run a whole retrain, whose gate lets its version through."""
    done = run_retrain(world.retrain(f"{moment:%Y-%m-%d}"), _silently, approved_by="test")
    assert done.version is not None, done.decision.gates
    assert (done.outcome, done.decision.forced) == ("deployed", False)
    return done.version


@contextmanager
def _serving(world: World) -> Iterator[TestClient]:
    """Run the serving app in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreparingSource, "download", RegistrySource.download)
        with TestClient(create_app([world.name], world.settings, poll_seconds=0.1)) as client:
            yield client


def _requests(spec: ModelSpec, log: pd.DataFrame) -> list[dict[str, Any]]:
    """Return logged rows as a caller sends them."""
    frame = feature_frame(spec, log).assign(**log[list(spec.context)]).astype(object)
    return frame.where(frame.notna(), None).to_dict("records")


def _same_answers(log: pd.DataFrame, body: Any, version: str) -> None:
    """Compare what requests get with what the batch has logged."""
    assert (body["version"], len(log) > 20) == (version, True)
    answers = body["predictions"]
    np.testing.assert_allclose([one["score"] for one in answers], log["score"], rtol=1e-12, atol=1e-12)
    labels = [one["label"] for one in answers if "label" in one]
    assert labels == (log["predicted"].tolist() if labels else [])


def _asked(served: TestClient, rows: list[dict[str, Any]]) -> Any:
    reply = served.post("/predict", json={"rows": rows})
    assert reply.status_code == 200, reply.text
    return reply.json()


def _wait_for(served: TestClient, rows: list[dict[str, Any]], version: str) -> None:
    end = time.monotonic() + 60
    while _asked(served, rows)["version"] != version:
        assert time.monotonic() < end, f"version {version} does not serve"
        time.sleep(0.05)


def _made_again(world: World, version: str) -> Any:
    """Reproduce a version; its process, whose imports take seconds, is this one."""
    run = subprocess.run

    def here(command: list[str], **options: Any) -> Any:
        if "evermodel.pipelines.reproduce_worker" not in command:
            return run(command, **options)
        reproduce_worker.main(Path(command[-1]))
        return SimpleNamespace(returncode=0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evermodel.pipelines.reproduce.subprocess.run", here)
        return reproduce(world.client, world.name, version, world.settings)
