from __future__ import annotations

import uuid
from typing import Any

import pytest

from evermodel.modeling.search import Trial
from evermodel.modeling.trials import TrialLog
from evermodel.registry.tracking import connect, find_run, keyed_run


@pytest.fixture
def parent(mlflow_store: str) -> tuple[Any, Any]:
    client = connect(mlflow_store)
    return client, keyed_run(client, "trials", uuid.uuid4().hex, kind="candidate", name="linear")


def _trial(number: int, c: float = 1.0, state: Any = "complete", folds: int = 2) -> Trial:
    measured = [{"roc_auc": 0.5 + 0.1 * fold, "brier": 0.2} for fold in range(folds)]
    return Trial(number, {"C": c, "kind": None}, state, measured, 1000, 3000, "wrong" * (state == "failed"))


def _log(parent: tuple[Any, Any], *trials: Trial) -> dict[str, Any]:
    """Write trials as one attempt, and return the runs that are there afterwards."""
    client, run = parent
    log = TrialLog(client, run, f"key/{run.info.run_id}")
    for trial in trials:
        log.write(trial)
    log.close()
    nested = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    return {found.data.tags["evermodel.run_key"].rpartition("/")[2]: found for found in nested}


def test_a_trial_is_a_nested_run_with_its_parameters_folds_and_state(parent: tuple[Any, Any]) -> None:
    runs = _log(parent, _trial(0), _trial(1, state="pruned", folds=1), _trial(2, state="failed", folds=0))

    client, run = parent
    assert set(runs) == {"trial-0", "trial-1", "trial-2"}
    first = runs["trial-0"]
    assert first.data.params == {"params.C": "1.0", "params.kind": "None"}
    assert first.data.metrics["validation_roc_auc"] == pytest.approx(0.55)
    history = client.get_metric_history(first.info.run_id, "fold_roc_auc")
    assert [(point.step, point.value) for point in history] == [(0, 0.5), (1, 0.6)]
    assert [runs[f"trial-{n}"].info.status for n in range(3)] == ["FINISHED", "KILLED", "FAILED"]
    assert [runs[f"trial-{n}"].data.tags["evermodel.state"] for n in range(3)] == [
        "complete",
        "pruned",
        "failed",
    ]
    assert runs["trial-2"].data.tags["evermodel.problem"] == "wrong"
    key = f"key/{run.info.run_id}/trial-1"
    assert find_run(client, "trials", key, kind="trial").info.run_id == runs["trial-1"].info.run_id


def test_another_attempt_uses_the_same_runs_replaces_changed_ones_and_removes_what_it_did_not_try(
    parent: tuple[Any, Any],
) -> None:
    first = _log(parent, _trial(0), _trial(1), _trial(2))
    again = _log(parent, _trial(0), _trial(1, c=5.0))

    assert set(again) == {"trial-0", "trial-1"}
    assert again["trial-0"].info.run_id == first["trial-0"].info.run_id
    assert again["trial-1"].info.run_id != first["trial-1"].info.run_id
    assert again["trial-1"].data.params["params.C"] == "5.0"
