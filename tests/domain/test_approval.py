"""An answer holds for the version and the decision that were shown, and for nothing else."""

from __future__ import annotations

from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pytest

from evermodel.alerts.approval_message import ApprovalForm
from evermodel.core.errors import ApprovalError
from evermodel.deployment.eligibility import require_approval
from evermodel.evaluation.decision import Decision
from evermodel.registry.approval import Approval, record_answer
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import CHAMPION
from evermodel.registry.tracking import log_json
from support.flights import World

DECISION = Decision(
    "flights", "k", "linear", "u", None, "auc", "better", True, False, "", 1, (0.8, 0.7, 0.9), None, None, (), approval="manual"
)  # fmt: skip
YES = Approval(True, "ada", "7", DECISION.digest, "2013-03-11T00:00:00+00:00", "looks good")


def version(answer: Approval | None, **tags: str) -> Any:
    return SimpleNamespace(name="flights", version="7", tags={**(answer.tags() if answer else {}), **tags})


def test_a_yes_holds_for_what_was_shown() -> None:
    require_approval(version(YES), DECISION)
    require_approval(version(None), replace(DECISION, approval="auto"))
    require_approval(version(Approval(True, "auto", "7")), replace(DECISION, approval="auto"))
    # Another environment's spec said auto; and a release that wrote no mode wrote no digest either.
    require_approval(version(Approval(True, "auto", "7"), **{"evermodel.origin": "staging/3"}), DECISION)
    require_approval(version(replace(YES, digest="")), replace(DECISION, approval=""))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (version(None), "is not approved"),
        (version(replace(YES, approved=False)), "was rejected by ada"),
        (version(replace(YES, digest="d0")), "approved the decision d0"),
        (version(replace(YES, digest="")), "(unknown)"),
        (version(Approval(True, "auto", "7")), "required an approval when the decision was made"),
        (version(YES, **{"evermodel.rejected_by": "eve"}), "was rejected by eve"),
    ],
)
def test_nothing_else_is_deployed(found: Any, said: str) -> None:
    with pytest.raises(ApprovalError) as caught:
        require_approval(found, DECISION)
    assert said in str(caught.value)


def test_auto_of_another_environment_does_not_hold_here() -> None:
    with pytest.raises(ApprovalError, match="is not approved"):
        require_approval(
            version(None, **{"evermodel.origin": "staging/3"}), replace(DECISION, approval="auto")
        )


def test_a_decision_of_an_earlier_release_keeps_its_digest() -> None:
    assert "approval" not in replace(DECISION, approval="").to_json()
    assert Decision.from_json(DECISION.to_json()) == DECISION


def test_the_version_tells_who_said_what_when_and_why() -> None:
    at = YES.at
    assert YES.tags() == {
        "evermodel.approved_by": "ada",
        "evermodel.approved_at": at,
        "evermodel.approved_comment": "looks good",
        "evermodel.approved_decision": DECISION.digest,
    }
    assert Approval(False, "eve", "7", "d1", at).tags() == {
        "evermodel.rejected_by": "eve",
        "evermodel.rejected_at": at,
        "evermodel.rejected_decision": "d1",
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
    record_answer(world.client, world.name, Approval(False, "nobody (time-out)", version))
    answer = Approval(True, "ada", version, decision.digest, comment="looks good")
    record_answer(world.client, world.name, answer)  # in place of the first one
    run_id = retrain.mlflow_run().info.run_id
    log_json(world.client, run_id, {**decision.to_json(), "forced": True}, "decision.json")

    with pytest.raises(ApprovalError, match="it changed after the approval was requested"):
        retrain.deploy(version)
    assert ModelRegistry(world.client).at_alias(world.name, CHAMPION) is None

    log_json(world.client, run_id, decision.to_json(), "decision.json")
    done = retrain.deploy(version)
    assert (done.by, done.reason) == ("ada", "test; ada: looks good")
    assert (
        world.client.get_model_version(world.name, version).tags["evermodel.approved_comment"] == "looks good"
    )
