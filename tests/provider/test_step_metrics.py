from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import OutletEventAccessors

from evermodel_provider.metrics import count, measure
from evermodel_provider.operators.deploy import DeployOperator
from evermodel_provider.operators.evaluate import EvaluateOperator
from evermodel_provider.operators.extract import ExtractOperator
from evermodel_provider.operators.register import RegisterOperator
from evermodel_provider.operators.score import ScoreOperator
from evermodel_provider.operators.train import TrainOperator
from evermodel_provider.operators.validate import ValidateOperator
from support.flights import World


@pytest.fixture
def datagrams(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A StatsD server on loopback that Airflow sends to."""
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics import statsd_logger

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "127.0.0.1")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(server.getsockname()[1]))
        stats.initialize(factory=statsd_logger.get_statsd_logger, export_legacy_names=True)
        yield server
    monkeypatch.undo()
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger

    stats.initialize(factory=NoStatsLogger, export_legacy_names=True)


def test_a_gauge_carries_the_model_in_its_name(datagrams: socket.socket) -> None:
    measure("flights", severity=2, metric=0.5, metric_promised=None)
    sent = {datagrams.recv(1024).decode() for _ in range(2)}
    assert sent == {"airflow.evermodel.severity.flights:2|g", "airflow.evermodel.metric.flights:0.5|g"}


def sent(server: socket.socket, number: int) -> dict[str, str]:
    """Return so many datagrams: what each says, by the metric's name without its prefix."""
    lines = (server.recv(1024).decode() for _ in range(number))
    return dict(line.removeprefix("airflow.evermodel.").split(":", 1) for line in lines)


def test_a_server_that_is_away_fails_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr("airflow.sdk.observability.stats.gauge", broken)
    monkeypatch.setattr("airflow.sdk.observability.stats.incr", broken)
    measure("flights", severity=2)
    count("flights", "deployed_total")


@pytest.mark.integration
def test_every_step_of_a_retrain_and_scoring_tell_what_they_did(
    world: World, datagrams: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    logistic = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}
    world.change(candidates=[logistic])
    monkeypatch.setattr("evermodel.pipelines.evaluate.record_evidence", lambda *args: None)
    key = {"model": world.name, "as_of": "2013-03-11", "run_key": "retrain/metrics", "reason": "test"}
    with DAG("metrics", schedule=None):
        extract = ExtractOperator(task_id="extract", **key)
        snapshot = extract.execute({"dag_run": SimpleNamespace(run_id="run")})
        validate = ValidateOperator(task_id="validate", snapshot=snapshot, **key)
        clean = validate.execute({})
        train = TrainOperator(task_id="train", snapshot=clean, candidate="logistic", **key)
        trained = train.execute({})
        EvaluateOperator(task_id="evaluate", snapshot=clean, trained=[trained], **key).execute({"params": {}})
        version = RegisterOperator(task_id="register", snapshot=clean, **key).execute({})
        emitted: Any = {"outlet_events": OutletEventAccessors(), "params": {}}
        DeployOperator(task_id="deploy", version=version, **key).execute(emitted)
        score = ScoreOperator(task_id="score", model=world.name, as_of="2013-03-11")
        scored = score.execute(emitted)

    said = sent(datagrams, 11)

    name = world.name
    assert said[f"extracted_rows.{name}"] == f"{snapshot['rows']}|g"
    assert said[f"failed_checks.{name}"] == "0|g"
    assert {f"warned_checks.{name}", f"quarantined_rows.{name}", f"challenger_metric.{name}"} <= set(said)
    assert float(said[f"training_seconds.{name}.logistic"].removesuffix("|g")) > 0
    assert said[f"validation_metric.{name}.logistic"] == f"{trained['validation']}|g"
    assert said[f"registered_total.{name}"] == said[f"deployed_total.{name}"] == "1|c"
    assert said[f"scored_rows.{name}"] == f"{scored['rows']}|g"
    assert float(said[f"scoring_seconds.{name}"].removesuffix("|g")) > 0


@pytest.mark.integration
def test_a_snapshot_that_fails_tells_how_many_checks(world: World, datagrams: socket.socket) -> None:
    world.change(validation={"min_rows": 10_000_000})
    key = {"model": world.name, "as_of": "2013-03-11", "run_key": "retrain/metrics", "reason": "test"}
    with DAG("metrics", schedule=None):
        snapshot = ExtractOperator(task_id="extract", **key).execute(
            {"dag_run": SimpleNamespace(run_id="run")}
        )
        with pytest.raises(AirflowFailException, match="failed 1 of"):
            ValidateOperator(task_id="validate", snapshot=snapshot, **key).execute({})
    assert sent(datagrams, 2)[f"failed_checks.{world.name}"] == "1|g"
