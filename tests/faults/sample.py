"""A seeded sample of the fault sweep (`make test-faults` is the whole), and that the sweep finds what is wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evermodel.registry.tracking import connect, experiment_id
from faults.steps import UNTRAINED, Step, begin_untrained
from faults.sweep import Sweep, warm
from support.fault_proxies import Fault
from support.fault_world import Answers, fault_world
from support.flights import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FAULTS, KILLS, SEED = 10, 3, 15


def _another_run(world: World, answers: Answers) -> Any:
    client = connect(world.settings.tracking_uri)
    client.create_run(experiment_id(client, world.name), run_name="another")


@pytest.fixture(scope="module")
def sweep(
    tmp_path_factory: pytest.TempPathFactory,
    mlflow_server: str,
    mlflow_folder: Path,
    s3_endpoint: str,
    postgres: str,
) -> Iterator[Sweep]:
    folder = tmp_path_factory.mktemp("faults") / "model"
    warm()
    with fault_world(folder, mlflow_server, mlflow_folder, s3_endpoint, postgres) as world:
        sweep = Sweep(world)
        sweep.record(begin_untrained, (*UNTRAINED, Step("not idempotent", _another_run)))
        yield sweep


def test_after_a_fault_and_a_retry_everything_is_as_without_it(sweep: Sweep) -> None:
    chosen = random.Random(SEED)
    stages = sweep.stages[:-1]
    jobs = [job for job in sweep.faults(SEED) if job[0] in stages][:FAULTS]
    jobs += [(chosen.choice(stages), chosen.uniform(0, 1.2)) for _ in range(KILLS)]
    results = [sweep.run(*job) for job in jobs]
    assert not [result for result in results if result.wrong]
    assert any(result.retried for result in results)


def test_the_sweep_finds_a_step_that_does_its_work_twice(sweep: Sweep) -> None:
    stage = sweep.stages[-1]
    request = next(one for one in stage.requests if one[1].endswith("runs/create"))

    assert sweep.run(stage, Fault(*request, "cut + away")).wrong == ()
    assert sweep.run(stage, Fault(*request, "lost + away")).wrong == (
        "too much: run without a key another: RUNNING",
    )


def test_the_sweep_finds_a_request_that_is_not_hit(sweep: Sweep) -> None:
    result = sweep.run(sweep.stages[-1], Fault("mlflow", "GET /nowhere", 1, "500"))

    assert result.wrong == ("the request was hit 0 times",)
