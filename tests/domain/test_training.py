from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from evermodel.core.errors import TrainingError
from evermodel.core.settings import Settings
from evermodel.modeling import estimators
from evermodel.modeling.model_store import load_model, models_of
from evermodel.modeling.search import Trial
from evermodel.modeling.training import TrainedCandidate, best_of, fit_final, rows_of, train_candidate
from evermodel.modeling.trials import TrialLog
from evermodel.pipelines.reproduce import stored_candidate
from evermodel.registry.tracking import connect, find_run
from evermodel.spec import ModelSpec
from evermodel.spec.window import split_window
from support.small_spec import small_spec

AS_OF = datetime(2026, 3, 9, tzinfo=UTC)
ONE = "snapshots/small/one.parquet"
TREES = {
    "name": "trees",
    "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    "params": {"max_iter": 10, "early_stopping": False},
}
LINEAR = {"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}
DAYS = 21


def _spec(*candidates: dict[str, Any], **more: Any) -> ModelSpec:
    split = {"train": "14d", "validation": "3d", "test": "4d"}
    return small_spec(name="training_small", split=split, candidates=candidates or (LINEAR,), **more)


def _table(per_day: int = 30) -> pa.Table:
    """Rows of the 21 days before the last one, whose labels have matured."""
    generator = np.random.default_rng(0)
    rows = DAYS * per_day
    amount = generator.normal(size=rows)
    colour = generator.choice(["red", "green"], rows)
    end = AS_OF - timedelta(days=1)
    return pa.table(
        {
            "id": np.arange(rows),
            "at": [end - timedelta(days=DAYS) + timedelta(days=i // per_day, hours=1) for i in range(rows)],
            "amount": amount,
            "age": generator.normal(size=rows),
            "colour": colour,
            "late": (amount + (colour == "red") + generator.normal(size=rows) > 0.5).astype(np.int8),
        }
    )


@pytest.fixture
def lake(mlflow_store: str, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path, lake=tmp_path, models=tmp_path, tracking_uri=mlflow_store, dvc_remote=str(tmp_path),
        airflow_url="http://127.0.0.1:1",
    )  # fmt: skip


def _store(settings: Settings, table: pa.Table, name: str = ONE) -> str:
    (settings.lake / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, settings.lake / name)
    return name


def _train(
    spec: ModelSpec, snapshot: str, settings: Settings, key: str = "k", recorded: str = ""
) -> TrainedCandidate:
    client = connect(settings.tracking_uri)
    return train_candidate(
        spec, spec.candidates[0], snapshot=snapshot, as_of=AS_OF, run_key=f"{settings.lake}/{key}",
        parent_run="", client=client, settings=settings, recorded=recorded,
    )  # fmt: skip


def _with_labels(spec: ModelSpec, table: pa.Table, part: str, change: Any) -> pa.Table:
    """Change the labels of one part."""
    window = getattr(split_window(spec, AS_OF), part)
    moments = table["at"].to_pylist()
    inside = np.array([window.start <= moment < window.end for moment in moments])
    labels = table["late"].to_numpy()
    return table.set_column(5, "late", pa.array(np.where(inside, change(labels), labels), pa.int8()))


def _predictions(trained: TrainedCandidate, settings: Settings, spec: ModelSpec, folder: str) -> np.ndarray:
    model = load_model(connect(settings.tracking_uri), trained.model_uri, settings.lake / folder)
    features = rows_of(spec, ONE, split_window(spec, AS_OF).test, settings).frame
    assert len(features) == 120
    return np.asarray(model.pipeline.predict_proba(features))


@pytest.mark.parametrize("candidate", [TREES, LINEAR], ids=["trees", "linear"])
def test_what_is_in_the_test_part_changes_no_bit_of_the_model_and_what_is_before_does(
    candidate: dict[str, Any], lake: Settings
) -> None:
    spec, table = _spec(candidate), _table()
    first = _train(spec, _store(lake, table), lake, "first")
    flipped = _with_labels(spec, table, "test", lambda y: 1 - y)
    blind = _train(spec, _store(lake, flipped, "snapshots/small/two.parquet"), lake, "second")
    fitted = _with_labels(spec, table, "validation", lambda y: 1 - y)
    other = _train(spec, _store(lake, fitted, "snapshots/small/three.parquet"), lake, "third")

    scores = _predictions(first, lake, spec, "a")
    assert (_predictions(blind, lake, spec, "b") == scores).all()
    assert blind.validation == first.validation
    assert (_predictions(other, lake, spec, "c") != scores).any()


def test_the_run_of_a_candidate_tells_what_was_measured_and_training_again_goes_on_in_it(
    lake: Settings,
) -> None:
    spec = _spec()
    snapshot = _store(lake, _table())
    first, again = _train(spec, snapshot, lake), _train(spec, snapshot, lake)

    client = connect(lake.tracking_uri)
    run = find_run(client, spec.name, f"{lake.lake}/k/linear", kind="candidate")
    assert run is not None
    assert first.mlflow_run == again.mlflow_run == run.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.metrics["train_rows"] == 14 * 30
    assert run.data.metrics["validation_rows"] == 3 * 30
    assert run.data.metrics["validation_roc_auc"] == pytest.approx(first.validation)
    assert first.validation > 0.6


def test_trained_again_the_recorded_model_stays_and_another_outcome_is_another_model(lake: Settings) -> None:
    spec, snapshot = _spec(), _store(lake, _table())
    first = _train(spec, snapshot, lake)
    _, recorded = first.record(snapshot, AS_OF)
    assert _train(spec, snapshot, lake, recorded=recorded) == first
    client = connect(lake.tracking_uri)
    assert list(models_of(client, client.get_run(first.mlflow_run))) == [first.model_uri]
    other = _train(spec, snapshot, lake, recorded="an outcome of other code")
    assert set(models_of(client, client.get_run(first.mlflow_run))) == {first.model_uri, other.model_uri}
    assert other.model_uri != first.model_uri


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("value", [0, 1])
def test_a_part_of_one_class_cannot_train(part: str, value: int, lake: Settings) -> None:
    table = _with_labels(_spec(), _table(), part, lambda y: np.full_like(y, value))

    with pytest.raises(TrainingError, match=rf"the {part} part .* rows of one class only[\s\S]*split.{part}"):
        _train(_spec(), _store(lake, table), lake)


def test_an_empty_part_cannot_train(lake: Settings) -> None:
    with pytest.raises(TrainingError, match=r"the validation part .* has no row"):
        _train(_spec(), _store(lake, _table().slice(0, 14 * 30)), lake)


@pytest.mark.parametrize(
    ("estimator", "params", "told"),
    [
        ("sklearn.linear_model.LogisticRegression", {"C": -1}, "candidate bad cannot be fitted.*C"),
        ("sklearn.linear_model.SGDClassifier", {"loss": "hinge"}, "candidate bad gives no probabilities"),
    ],
)
def test_a_candidate_that_cannot_be_fitted_fails_alone(
    estimator: str, params: dict[str, Any], told: str, lake: Settings
) -> None:
    spec = _spec({"name": "bad", "estimator": estimator, "params": params})

    with pytest.raises(TrainingError, match=told):
        _train(spec, _store(lake, _table()), lake)

    run = find_run(connect(lake.tracking_uri), spec.name, f"{lake.lake}/k/bad", kind="candidate")
    assert run is not None
    assert run.info.status == "FAILED"


SEARCHED = {
    **TREES,
    "search": {"trials": 4, "space": {"learning_rate": {"low": 0.01, "high": 0.5, "log": True}}},
}


def _runs(settings: Settings, spec: ModelSpec, candidate: str, key: str = "k") -> tuple[Any, list[Any]]:
    """The run of a candidate and those nested in it."""
    client = connect(settings.tracking_uri)
    run = find_run(client, spec.name, f"{settings.lake}/{key}/{candidate}", kind="candidate")
    assert run is not None
    where = f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    return run, list(client.search_runs([run.info.experiment_id], where))


def test_a_search_that_was_killed_goes_on_with_its_runs_and_ends_where_it_would_have_ended(
    lake: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, snapshot = _spec(SEARCHED), _store(lake, _table())
    whole = _train(spec, snapshot, lake, "whole")
    write = TrialLog.write

    def dies(log: TrialLog, trial: Trial) -> None:
        if trial.number == 2:
            raise ConnectionError("MLflow is gone")
        write(log, trial)

    monkeypatch.setattr(TrialLog, "write", dies)
    with pytest.raises(ConnectionError):
        _train(spec, snapshot, lake)
    _, before = _runs(lake, spec, "trees")
    monkeypatch.setattr(TrialLog, "write", write)
    trained = _train(spec, snapshot, lake)
    run, after = _runs(lake, spec, "trees")

    assert trained.params == whole.params
    assert len(before) == 2
    assert len(after) == 4
    assert {r.info.run_id for r in before} < {r.info.run_id for r in after}
    assert run.data.params == {f"params.{name}": str(value) for name, value in trained.params.items()}
    assert trained.params.keys() == {"max_iter", "early_stopping", "learning_rate"}


def test_a_finished_search_is_not_done_again_and_an_edited_spec_starts_over_in_a_run_of_its_own(
    lake: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, snapshot = _spec(SEARCHED), _store(lake, _table())
    first = _train(spec, snapshot, lake)
    written: list[int] = []
    write = TrialLog.write
    monkeypatch.setattr(
        TrialLog, "write", lambda log, trial: (written.append(trial.number), write(log, trial))
    )

    again = _train(spec, snapshot, lake)
    assert (again.params, again.validation, again.mlflow_run) == (
        first.params,
        first.validation,
        first.mlflow_run,
    )
    assert written == []

    other = _spec({**SEARCHED, "params": {"max_iter": 5}})
    edited = _train(other, snapshot, lake)
    assert edited.mlflow_run != first.mlflow_run
    assert edited.params["max_iter"] == 5
    assert written == [0, 1, 2, 3]
    assert connect(lake.tracking_uri).get_run(first.mlflow_run).data.params["params.max_iter"] == "10"


def test_what_was_searched_stopped_early_and_calibrated_is_fitted_again_bit_for_bit(lake: Settings) -> None:
    candidate = {**SEARCHED, "params": {"max_iter": 40}}
    training = {
        "early_stopping": True,
        "calibrate": "isotonic",
        "class_weight": "balanced",
        "recency_half_life": "7d",
        "folds": {"count": 2},
    }
    spec = _spec(candidate, training=training)
    trained = _train(spec, _store(lake, _table()), lake)
    run, _ = _runs(lake, spec, "trees")
    chosen = stored_candidate(spec, run)
    again = fit_final(spec, chosen, snapshot=ONE, as_of=AS_OF, settings=lake)

    assert chosen.params == trained.params
    assert trained.params["max_iter"] < 40
    features = rows_of(spec, ONE, split_window(spec, AS_OF).test, lake).frame
    assert (again.predict_proba(features) == _predictions(trained, lake, spec, "a")).all()


class Sleepy(ClassifierMixin, BaseEstimator):
    """Never ends."""

    def fit(self, rows: Any, labels: Any) -> None:
        while True:
            time.sleep(60)

    def predict_proba(self, rows: Any) -> Any:
        raise NotImplementedError


def test_a_candidate_that_hangs_is_ended_at_its_limit_and_fails_alone(
    lake: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        estimators, "ALLOWED_PACKAGES", (*estimators.ALLOWED_PACKAGES, __name__.split(".")[0])
    )
    sleepy = {"name": "sleepy", "estimator": f"{__name__}.Sleepy", "time_limit": timedelta(seconds=1)}
    spec, snapshot = _spec(sleepy, LINEAR), _store(lake, _table())

    with pytest.raises(TrainingError, match=r"candidate sleepy exceeded its time limit \(1 s\)"):
        _train(spec, snapshot, lake)
    assert _runs(lake, spec, "sleepy")[0].info.status == "FAILED"

    healthy = spec.model_copy(update={"candidates": spec.candidates[1:]})
    assert _train(healthy, snapshot, lake).validation > 0.6


def test_what_an_older_version_handed_on_is_still_understood() -> None:
    old = {"candidate": "a", "model_uri": "models:/m-1", "mlflow_run": "r", "metric": "x", "validation": 0.5}
    assert TrainedCandidate(**old).params == {}


def _outcome(name: str, value: float) -> TrainedCandidate:
    return TrainedCandidate(name, "models:/m-1", "run", "x", value)


@pytest.mark.parametrize(
    ("metric", "best"),
    [("roc_auc", "high"), ("average_precision", "high"), ("log_loss", "low"), ("brier", "low")],
)
def test_the_best_candidate_follows_the_direction_of_the_metric(metric: str, best: str) -> None:
    spec = small_spec(gate={"metric": metric})

    assert best_of(spec, [_outcome("low", 0.2), _outcome("high", 0.8)]).candidate == best
    assert best_of(spec, [_outcome("high", 0.8), _outcome("low", 0.2)]).candidate == best


def test_of_equal_candidates_the_first_of_the_spec_is_best_and_of_none_there_is_none() -> None:
    same = _outcome("first", 0.5)
    assert best_of(small_spec(), [same, replace(same, candidate="second")]).candidate == "first"
    with pytest.raises(TrainingError, match="no candidate could be trained"):
        best_of(small_spec(), [])


def test_a_candidate_without_a_finite_metric_is_never_best() -> None:
    nan = _outcome("nan", float("nan"))
    assert best_of(small_spec(), [nan, _outcome("fine", 0.6)]).candidate == "fine"
    with pytest.raises(TrainingError, match="no candidate has a finite roc_auc"):
        best_of(small_spec(), [nan])
