"""An answer holds for the version and the decision that were shown, and for nothing else."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from evermodel.alerts.approval_message import ApprovalForm
from evermodel.core.errors import ApprovalError
from evermodel.registry.approval import Approval
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import CHAMPION
from evermodel.registry.tracking import log_json
from support.flights import World

YES = Approval(True, "ada", "7", "d1", "2013-03-11T00:00:00+00:00", "looks good")


def test_a_yes_holds_for_what_was_shown() -> None:
    YES.require("7", "d1")
    Approval(True, "auto", "7").require("7", "d2")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (replace(YES, approved=False), "was rejected by ada"),
        (replace(YES, version="6"), "version 6 was approved by ada, not version 7"),
        (replace(YES, digest="d0"), "decision.json is now d1: it changed"),
        (replace(YES, digest=""), "(unknown)"),
    ],
)
def test_nothing_else_is_deployed(answer: Approval, said: str) -> None:
    with pytest.raises(ApprovalError) as caught:
        answer.require("7", "d1")
    assert said in str(caught.value)


def test_the_version_tells_who_said_what_when_and_why() -> None:
    at = YES.at
    assert YES.tags() == {
        "evermodel.approved_by": "ada",
        "evermodel.approved_at": at,
        "evermodel.approved_comment": "looks good",
    }
    assert Approval(False, "eve", "7", "d1", at).tags() == {
        "evermodel.rejected_by": "eve",
        "evermodel.rejected_at": at,
    }


@pytest.mark.parametrize(
    "text", ["[]", "1", "{}", '{"dag_id": 1}', "nothing", '{"dag_id": "a", "more": "b"}']
)
def test_what_is_no_value_of_a_button_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own words are good enough
        ApprovalForm.loads(text)
    question = ApprovalForm("retrain_flights", "run", "approve", "7", "d1")
    assert ApprovalForm.loads(question.dumps()) == question


def test_a_decision_that_was_changed_after_the_answer_deploys_nothing(world: World) -> None:
    world.change(candidates=[{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}])
    retrain = world.retrain("2013-03-11")
    snapshot = retrain.extract()
    decision = retrain.evaluate(snapshot.path, world.train(retrain, snapshot.path), None)
    version = str(retrain.register(asdict(snapshot)).version)
    answer = Approval(True, "ada", version, decision.digest, comment="looks good")
    run_id = retrain.mlflow_run().info.run_id
    log_json(world.client, run_id, {**decision.to_json(), "forced": True}, "decision.json")

    with pytest.raises(ApprovalError, match="it changed after the approval was requested"):
        retrain.deploy(version, "auto", answer)
    assert ModelRegistry(world.client).at_alias(world.name, CHAMPION) is None

    log_json(world.client, run_id, decision.to_json(), "decision.json")
    done = retrain.deploy(version, "auto", answer)
    assert (done.by, done.reason) == ("ada", "test; ada: looks good")
    assert (
        world.client.get_model_version(world.name, version).tags["evermodel.approved_comment"] == "looks good"
    )
