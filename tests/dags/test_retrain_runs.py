"""The retrain DAG as Airflow runs it, on a real registry: every way a run can end well."""

from __future__ import annotations

from typing import Any

import pytest

from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tracking import find_run, read_json
from support.airflow_runs import Done, answering, messages, retrain
from support.flights import FAST, World

pytestmark = pytest.mark.integration

FIRST, SECOND = "2013-03-11", "2013-03-18"
SHIPPING = ("register", "approve", "deploy")


@pytest.fixture
def model(world: World, without_evidence: None) -> World:
    """A world that trains one quick candidate."""
    world.change(candidates=[FAST])
    return world


@pytest.fixture
def served(model: World) -> World:
    """A world with a champion, version 1."""
    assert model.champion(FIRST) == "1"
    return model


def alias(world: World, name: str) -> str | None:
    version = ModelRegistry(world.client).at_alias(world.name, name)
    return None if version is None else str(version.version)


def decision(world: World, done: Done) -> dict[str, Any]:
    run = find_run(world.client, world.name, done.xcom("request")["run_key"], kind="retrain")
    assert run is not None
    found: dict[str, Any] = read_json(world.client, run.info.run_id, "decision.json")
    return found


def test_the_first_run_starts_cold_with_every_candidate_and_ships(world: World) -> None:
    done = retrain(world, FIRST)

    assert (done.state, set(done.states.values())) == ("success", {"success"})
    assert {"train[0]", "train[1]"} < set(done.states)
    assert done.xcom("evaluate")["verdict"] == "cold_start"
    assert (alias(world, "champion"), alias(world, "challenger")) == ("1", None)
    assert done.xcom("report")["outcome"] == "deployed"
    run = find_run(world.client, world.name, done.xcom("request")["run_key"], kind="retrain")
    assert run is not None
    artifacts = {artifact.path for artifact in world.client.list_artifacts(run.info.run_id)}
    assert {"spec.json", "validation.json", "decision.json", "decision.html"} <= artifacts
    (message,) = messages(world)
    assert "first champion, version 1" in message["title"]


def test_the_next_run_is_judged_against_the_champion_and_follows_it(served: World) -> None:
    done = retrain(served, SECOND)

    assert done.state == "success"
    assert decision(served, done)["parent"] == "1"
    assert done.xcom("evaluate")["champion"] is not None
    assert (alias(served, "champion"), alias(served, "previous")) == ("2", "1")
    version = served.client.get_model_version(served.name, "2")
    assert version.tags["evermodel.as_of"].startswith(SECOND)
    assert version.tags["evermodel.reason"] == "started by hand"


def test_a_failed_gate_keeps_the_champion_and_still_writes_the_decision(served: World) -> None:
    served.change(gate={"floor": 0.99})

    done = retrain(served, SECOND)

    assert done.state == "success"
    assert {done.states[task] for task in SHIPPING} == {"skipped"}
    assert done.xcom("report")["outcome"] == "kept the champion"
    assert (alias(served, "champion"), len(ModelRegistry(served.client).read(served.name).promotions)) == (
        "1",
        1,
    )
    assert len(served.client.search_model_versions(f"name = '{served.name}'")) == 1
    written = decision(served, done)
    assert written["ship"] is False
    assert [gate["name"] for gate in written["gates"] if gate["verdict"] == "fail"] == ["roc_auc floor"]
    assert "Version 1 stays champion: roc_auc floor failed" in messages(served)[-1]["text"]


def test_force_with_a_reason_ships_what_the_gate_refused(
    served: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.change(gate={"floor": 0.99}, approvers=["dag_test"])
    audited: list[str] = []
    monkeypatch.setattr("evermodel.registry.audit.LOG.info", audited.append)

    done = retrain(served, SECOND, force=True, reason="the old one breaks on new carriers")

    assert done.state == "success"
    assert alias(served, "champion") == "2"
    tags = served.client.get_model_version(served.name, "2").tags
    assert (tags["evermodel.forced"], tags["evermodel.reason"]) == (
        "true",
        "the old one breaks on new carriers",
    )
    # Who forced it is part of the reason; Airflow's dag.test() calls its user "dag_test".
    assert decision(served, done)["reason"] == "forced: the old one breaks on new carriers (dag_test)"
    (line,) = [line for line in audited if line.startswith("event=override ")]
    assert 'version=2 by=auto reason="forced: the old one breaks on new carriers (dag_test)"' in line


def test_a_person_approves_and_is_named(model: World) -> None:
    model.change(approval="manual", approvers=["reviewer"])

    with answering("Approve", comment="looks good") as asked:
        done = retrain(model, FIRST)

    assert done.state == "success"
    assert asked[0]["subject"] == f"Make version 1 of {model.name} the champion?"
    assert "| roc_auc floor | pass |" in asked[0]["body"]
    answer = done.xcom("approve", "approval")
    digest = model.client.get_model_version(model.name, "1").tags["evermodel.decision"]
    assert (answer["approved"], answer["by"], answer["version"], answer["digest"]) == (
        True,
        "reviewer",
        "1",
        digest,
    )
    (promotion,) = ModelRegistry(model.client).read(model.name).promotions
    assert (promotion.by, promotion.reason) == ("reviewer", "started by hand; reviewer: looks good")
    tags = model.client.get_model_version(model.name, "1").tags
    assert (tags["evermodel.approved_by"], tags["evermodel.approved_comment"]) == ("reviewer", "looks good")
    assert alias(model, "champion") == "1"
    asking, told = messages(model)
    assert "version 1 waits for approval" in asking["text"]
    assert "/tasks/approve" in str(asking["blocks"])
    assert "approved by reviewer" in told["text"]


def test_a_person_rejects_and_the_report_tells(served: World) -> None:
    with answering("Reject") as asked:
        done = retrain(served, SECOND, approval="manual")

    assert done.state == "success", "a rejection is an answer, not a failure"
    assert "champion (version 1)" in asked[0]["body"]
    assert (done.states["approve"], done.states["deploy"], done.states["report"]) == (
        "success",
        "skipped",
        "success",
    )
    assert done.xcom("report")["outcome"] == "rejected"
    assert (alias(served, "champion"), alias(served, "challenger")) == ("1", "2")
    assert "reviewer" in messages(served)[-1]["text"]


def test_only_the_chosen_candidates_are_trained(world: World) -> None:
    done = retrain(world, FIRST, candidates=["logistic"])

    assert (done.state, set(done.states.values())) == ("success", {"success"})
    assert done.xcom("evaluate")["candidate"] == "logistic"
    runs = world.client.search_runs([world.client.get_experiment_by_name(world.name).experiment_id])
    assert [r.info.run_name for r in runs if r.data.tags["evermodel.kind"] == "candidate"] == ["logistic"]
    assert done.xcom("report")["outcome"] == "deployed"
