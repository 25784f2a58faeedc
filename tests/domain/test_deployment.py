"""What becomes of a registered version: it serves, is rolled out, waits for a yes, or had its turn."""

from __future__ import annotations

from typing import Any

import pytest

from evermodel.core.errors import ApprovalError, PromotionError, WrongEnvironmentError
from evermodel.deployment.eligibility import promote
from evermodel.deployment.promotion import promote_version
from evermodel.deployment.rollback import roll_back
from evermodel.pipelines import deploy as deployment
from evermodel.pipelines.deploy import Deployment, approve, deploy
from evermodel.registry.approval import Approval, record_answer
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.retrain_run import DECISION_FILE
from evermodel.registry.tracking import log_json
from evermodel.spec import ModelSpec
from support.flights import World
from support.rollouts import RolloutWorld, RolloutWorlds


@pytest.fixture
def shelf(rollout_world: RolloutWorlds) -> RolloutWorld:
    """A champion, version 1."""
    made = rollout_world({})
    assert made.serve() == "1"
    return made


def spec_of(shelf: RolloutWorld, **fields: Any) -> ModelSpec:
    return shelf.spec.model_copy(update=fields)


def deployed(shelf: RolloutWorld, version: str, **fields: Any) -> Deployment:
    settings = shelf.world.settings
    return deploy(spec_of(shelf, **fields), version, shelf.world.client, settings, by="ann", reason="go")


def approved(shelf: RolloutWorld, version: str, by: str = "ann", reason: str = "fine") -> Deployment:
    spec = spec_of(shelf, approval="manual", approvers=("ann", "bob#4"))
    return approve(spec, version, shelf.world.client, shelf.world.settings, by=by, reason=reason)


def test_a_promotion_that_was_cut_off_is_completed_and_what_was_under_way_is_ended(
    shelf: RolloutWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.judged("r/2", "1")
    shelf.judged("r/3", "1")
    shelf.steps.start("2", by="me", reason="weekly", run_key="rollout/r/2", strategy="canary")
    with monkeypatch.context() as killed:
        killed.setattr(ModelRegistry, "_move_aliases", _killed)
        with pytest.raises(KeyboardInterrupt):
            deployed(shelf, "3")
    with monkeypatch.context() as killed:
        killed.setattr(deployment, "stop_active_rollout", _killed)
        with pytest.raises(KeyboardInterrupt):
            deployed(shelf, "3")
    assert (shelf.champion, shelf.plan.state) == ("3", "running")

    done = deployed(shelf, "3")

    assert done == deployed(shelf, "3") == Deployment(shelf.name, "3", "champion", "1")
    assert (shelf.champion, shelf.plan.state) == ("3", "stopped")
    assert [line.version for line in ModelRegistry(shelf.world.client).read(shelf.name).promotions] == [
        "1",
        "3",
    ]


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_what_had_its_turn_is_not_given_another_one(shelf: RolloutWorld) -> None:
    shelf.judged("r/2", "1")
    assert deployed(shelf, "2").outcome == "champion"
    roll_back(shelf.world.client, shelf.name, by="me", reason="worse", run_key="back")
    assert deployed(shelf, "2") == Deployment(shelf.name, "2", "served before", "1")
    assert shelf.champion == "1"


def test_a_decision_that_says_no_or_a_persons_no_holds_a_version_back(shelf: RolloutWorld) -> None:
    shelf.judged("r/2", "1", ship=False)
    assert "the decision on version 2 is not to promote" in deployed(shelf, "2").why
    shelf.judged("r/3", "1")
    shelf.world.client.set_model_version_tag(shelf.name, "3", "evermodel.rejected_by", "eve")
    assert (deployed(shelf, "3").outcome, deployed(shelf, "3").why) == ("held back", "rejected by eve")
    assert shelf.champion == "1"


def test_only_an_approver_with_a_reason_says_yes_and_only_to_what_may_serve(shelf: RolloutWorld) -> None:
    shelf.judged("r/2", "1")
    assert deployed(shelf, "2", approval="manual").outcome == "waits for approval"
    with pytest.raises(ApprovalError, match="eve may not approve a version: the spec names ann, bob"):
        approved(shelf, "2", by="eve")
    with pytest.raises(ApprovalError, match="needs a reason"):
        approved(shelf, "2", reason=" ")
    with pytest.raises(PromotionError, match="version 1 is the champion"):
        approved(shelf, "1")
    shelf.judged("r/3", "1", ship=False)
    with pytest.raises(PromotionError, match="the decision on version 3 is not to promote"):
        approved(shelf, "3")
    shelf.judged("r/4", "1")
    shelf.world.client.set_model_version_tag(shelf.name, "4", "evermodel.rejected_by", "eve")
    with pytest.raises(ApprovalError, match="was rejected by eve"):
        approved(shelf, "4")
    assert not any("evermodel.approved_by" in shelf.tags(version) for version in "234")

    assert approved(shelf, "2", by="bob") == Deployment(shelf.name, "2", "champion", "1")
    assert shelf.tags("2")["evermodel.approved_by"] == "bob"
    assert ModelRegistry(shelf.world.client).read(shelf.name).promotions[-1].by == "bob"


def test_another_environment_can_neither_approve_nor_roll_out(
    rollout_world: RolloutWorlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "prod")
    shelf = rollout_world({"strategy": "canary"})
    shelf.serve()
    shelf.judged("r/2", "1")
    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "staging")
    with pytest.raises(WrongEnvironmentError, match="belongs to the environment prod"):
        approved(shelf, "2")
    with pytest.raises(WrongEnvironmentError, match="belongs to the environment prod"):
        shelf.steps.start("2", by="me", reason="x", run_key="k")
    assert "evermodel.approved_by" not in shelf.tags("2")


@pytest.mark.parametrize("champion", [None, "1"], ids=["cold start", "beside a champion"])
def test_a_decision_that_says_no_is_deployed_by_no_path(
    world: World, rollout_world: RolloutWorlds, champion: str | None
) -> None:
    made = rollout_world({})
    if champion:
        assert made.serve() == champion
    retrain, version = made.judged("r/refused", champion, ship=False)

    for step in (
        lambda: retrain.register({"path": "p", "md5": "m"}),
        lambda: retrain.deploy(version, "auto"),
        lambda: retrain.deploy(version, "ada"),
        lambda: retrain.ask_for_rollout(version, "auto"),
        lambda: promote_version(made.world.client, made.name, version, by="ada", reason="x", run_key="hand"),
    ):
        with pytest.raises(PromotionError, match=r"the decision on .* is not to promote \(worse\)"):
            step()
    assert ModelRegistry(world.client).read(made.name).champion == champion


def test_a_version_that_is_evaluated_again_loses_what_no_longer_holds(rollout_world: RolloutWorlds) -> None:
    made = rollout_world({})
    retrain, version = made.judged("r/again", None)
    client = retrain.client
    retrain.mlflow_run({"evermodel.snapshot": "p", "evermodel.snapshot_md5": "m"})
    for key, value in {"decision": "earlier", "parent": "7", "anchor": "3", "git_commit": "abc"}.items():
        client.set_model_version_tag(made.name, version, f"evermodel.{key}", value)

    retrain.register({"path": "p", "md5": "m"})

    tags = made.tags(version)
    assert tags["evermodel.decision"] != "earlier"
    assert not {"evermodel.parent", "evermodel.anchor"} & tags.keys()
    assert tags["evermodel.run_key"] == "r/again"


def test_a_version_of_another_run_is_not_deployed(rollout_world: RolloutWorlds) -> None:
    made = rollout_world({})
    _, other = made.judged("r/other", None, ship=False)
    retrain, _ = made.judged("r/mine", None)

    with pytest.raises(PromotionError, match=f"version {other} was registered by run r/other"):
        retrain.deploy(other, "auto")


def test_a_spec_that_wants_an_approval_is_not_satisfied_by_none(
    world: World, rollout_world: RolloutWorlds
) -> None:
    made = rollout_world({})
    world.change(approval="manual")
    retrain, version = made.judged("r/1", None)

    with pytest.raises(ApprovalError, match=f"version {version} is not approved"):
        retrain.deploy(version, "auto")
    world.change(approval="auto")  # too late: the decision says manual
    record_answer(world.client, made.name, Approval(True, "auto", version))
    with pytest.raises(ApprovalError, match="the spec required an approval when the decision was made"):
        retrain.deploy(version, "auto")
    assert ModelRegistry(world.client).read(made.name).champion is None
    retrain.deploy(version, "ada")
    assert ModelRegistry(world.client).read(made.name).champion == version


def test_a_rollout_ends_when_its_version_is_rejected_or_its_decision_changes(
    rollout_world: RolloutWorlds,
) -> None:
    made = rollout_world({"strategy": "canary"})
    made.serve()
    for run_key, taken_back in (("r/2", True), ("r/3", False)):
        retrain, version = made.judged(run_key, "1")
        made.steps.start(version, by="me", reason="weekly", run_key=f"rollout/{run_key}")
        if taken_back:
            record_answer(retrain.client, made.name, Approval(False, "ada", version))
        else:
            changed = {**retrain.decision().to_json(), "ship": False}
            log_json(retrain.client, retrain.mlflow_run().info.run_id, changed, DECISION_FILE)

        done = made.steps.advance()

        assert (done.state, made.champion) == ("rolled_back", "1")
        assert ("was rejected by ada" if taken_back else "is not to promote") in done.why


def test_a_rollback_reaches_only_what_has_served(rollout_world: RolloutWorlds) -> None:
    made = rollout_world({})
    made.serve()
    _, never = made.judged("r/2", "1")
    registry = ModelRegistry(made.world.client)
    with (
        registry.holding(made.name) as held,
        pytest.raises(PromotionError, match="version 2 has never served"),
    ):
        promote(
            registry, held, never, expected="1", by="x", reason="x", run_key="b", kind="rollback"
        )  # fmt: skip
