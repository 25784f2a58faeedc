"""What a retrain was asked for: by its schedule, by drift, or by a person with the form."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

from evermodel_provider.operators.request import RetrainRequestOperator, retrain_form
from support.flights import World, flights_world

OWN_DATE = "2013-03-11T06:00:00+00:00"


@pytest.fixture
def model(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> World:
    made = flights_world(tmp_path, "http://127.0.0.1:1", "flights")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def event(model: World, **extra: str) -> AssetEventDagRunReferenceResult:
    asset = {"name": f"{model.name}_retrain_wanted", "uri": f"evermodel://{model.name}/retrain-wanted"}
    return AssetEventDagRunReferenceResult.model_validate(
        {
            "asset": {**asset, "extra": {}},
            "extra": extra,
            "source_task_id": "ask_for_retrain",
            "source_dag_id": f"drift_{model.name}",
            "source_run_id": "scheduled__1",
            "source_map_index": -1,
            "source_aliases": [],
            "timestamp": datetime(2013, 3, 11, tzinfo=UTC),
            "partition_key": None,
        }
    )


def asked(
    model: World,
    *events: AssetEventDagRunReferenceResult,
    run_type: str = "scheduled",
    user: str | None = None,
    **form: Any,
) -> dict[str, Any]:
    with DAG("retrain_flights", schedule=None):
        task = RetrainRequestOperator(task_id="request", model="flights", as_of=OWN_DATE)
    params = {name: param.value for name, param in retrain_form(model.spec).items()}
    run = SimpleNamespace(
        run_id="scheduled__2013-03-11T06:00:00+00:00", run_type=run_type, triggering_user_name=user
    )
    context: Any = {
        "params": {**params, **form},
        "dag_run": run,
        "triggering_asset_events": TriggeringAssetEventsAccessor.build(events),
    }
    answer: dict[str, Any] = task.execute(context)
    return answer


def test_the_schedule_asks_for_everything_in_the_spec(model: World) -> None:
    assert asked(model) == {
        "as_of": "2013-03-11T00:00:00+00:00",
        "run_key": "retrain/flights/scheduled__2013-03-11T06:00:00+00:00",
        "reason": "weekly schedule",
        "candidates": ["boosted_trees", "logistic"],
        "approval": "auto",
    }


def test_the_form_wins_over_the_spec(model: World) -> None:
    model.change(approvers=["ada"])
    answer = asked(
        model,
        run_type="manual",
        user="ada",
        as_of="2013-02-04",
        candidates=["logistic"],
        approval="manual",
        force=True,
        reason="audit",
    )
    assert answer["as_of"] == "2013-02-04T00:00:00+00:00"
    assert (answer["candidates"], answer["approval"]) == (["logistic"], "manual")
    assert answer["reason"] == "audit"


@pytest.mark.parametrize("approvers", [[], ["ml_lead#3"]])
def test_only_an_approver_forces_a_challenger(model: World, approvers: list[str]) -> None:
    model.change(approvers=approvers)
    with pytest.raises(AirflowFailException, match=r"the form forces the challenger: .* and ada started"):
        asked(model, run_type="manual", user="ada", force=True, reason="ml_lead said so")


def test_an_event_that_somebody_posted_says_nothing(model: World) -> None:
    words = {"run_key": "retrain/flights/mine", "as_of": "2013-03-09", "reason": "ml_lead said so"}
    posted = event(model, **words)
    posted.extra["from_rest_api"] = True
    without_task = event(model, **words).model_copy(update={"source_task_id": None})
    answer = asked(model, posted, without_task, run_type="asset_triggered")
    assert answer["reason"] == "asset_triggered"
    assert answer["run_key"] == "retrain/flights/scheduled__2013-03-11T06:00:00+00:00"


def test_a_form_without_a_reason_says_that_a_person_started_it(model: World) -> None:
    assert asked(model, run_type="manual")["reason"] == "started by hand"


def test_the_request_of_drift_brings_its_own_key_date_and_reason(model: World) -> None:
    drift = event(
        model, run_key="retrain/flights/drift-2013-03-09", as_of="2013-03-09", reason="drift of temp"
    )

    answer = asked(model, drift, run_type="asset_triggered")

    assert answer["run_key"] == "retrain/flights/drift-2013-03-09"
    assert (answer["as_of"], answer["reason"]) == ("2013-03-09T00:00:00+00:00", "drift of temp")


def test_of_two_requests_the_newest_counts_and_an_event_of_another_kind_does_not(model: World) -> None:
    old = event(model, run_key="retrain/flights/drift-2013-03-02", as_of="2013-03-02", reason="old")
    new = event(model, run_key="retrain/flights/drift-2013-03-09", as_of="2013-03-09", reason="new")
    by_hand = event(model, note="made in Airflow's page")

    assert asked(model, new, old, by_hand)["reason"] == "new"
    assert asked(model, by_hand, run_type="asset_triggered")["reason"] == "asset_triggered"


@pytest.mark.parametrize(
    ("form", "drift_date", "expected"),
    [({"as_of": "2013-02-04"}, "2013-03-09", "2013-02-04"), ({}, "2013-03-09", "2013-03-09")],
)
def test_the_date_of_the_form_comes_before_that_of_drift_before_the_run_s_own(
    model: World, form: dict[str, Any], drift_date: str, expected: str
) -> None:
    drift = event(model, run_key="k", as_of=drift_date, reason="r")
    assert asked(model, drift, **form)["as_of"].startswith(expected)


def test_force_without_a_reason_fails_without_a_retry(model: World) -> None:
    with pytest.raises(AirflowFailException, match=r"`force` is set without a reason\n.*with a reason"):
        asked(model, force=True)


def test_who_is_no_approver_cannot_skip_the_approvers(model: World) -> None:
    model.change(approval="manual", approvers=["ml_lead#3"])
    for user in ("eve", None):
        with pytest.raises(AirflowFailException, match="only ml_lead may request it") as caught:
            asked(model, run_type="manual", user=user, approval="auto", reason="hurry")
        assert "with the form's approval as in the spec" in str(caught.value)
    assert asked(model, user="eve", approval="manual")["approval"] == "manual"
    assert asked(model, user="eve")["approval"] == "manual"


def test_an_approver_who_skips_the_question_signs_for_it(
    model: World, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)  # the audit log takes a line
    model.change(approval="manual", approvers=["ml_lead#3"])
    answer = asked(model, run_type="manual", user="ml_lead", approval="auto", reason="hotfix")
    assert answer["approval"] == "auto"
    assert answer["reason"] == "hotfix, without asking the approvers (ml_lead)"


@pytest.mark.parametrize("wanted", ["as in the spec", "manual", "auto"])
def test_an_approval_that_nobody_is_named_for_stops_the_run_before_it_trains(
    model: World, wanted: str
) -> None:
    model.change(approval="manual")
    with pytest.raises(AirflowFailException, match="`approval: manual` and names no approvers"):
        asked(model, run_type="manual", user="ada", approval=wanted)


def test_an_unknown_candidate_fails_and_names_the_known_ones(model: World) -> None:
    with pytest.raises(AirflowFailException, match="no candidate forest") as caught:
        asked(model, candidates=["forest"])
    assert "choose from boosted_trees, logistic" in str(caught.value)


def test_the_form_offers_the_candidates_of_the_spec(model: World) -> None:
    form = retrain_form(model.spec)
    assert form["candidates"].schema["items"]["enum"] == ["boosted_trees", "logistic"]
    assert "The spec sets auto" in form["approval"].description
    model.change(approval="manual", approvers=["ml_lead#3"])
    assert "auto is allowed for ml_lead only" in retrain_form(model.spec)["approval"].description
