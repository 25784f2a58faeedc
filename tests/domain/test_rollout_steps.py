"""The steps of a rollout on a real registry: each move, what is refused, and what ends a rollout from outside."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evermodel.core.errors import PromotionError, RolloutError
from evermodel.deployment.promotion import promote_version
from evermodel.deployment.rollback import roll_back
from evermodel.deployment.rollout import collect as gather
from evermodel.deployment.rollout import moves
from evermodel.deployment.rollout.evidence import Smoke
from evermodel.deployment.rollout.moves import stop_active_rollout
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tracking import find_run, read_json
from evermodel.registry.traffic_plan import everything_to
from support.flights import World
from support.registry_shelf import promoted
from support.rollouts import RolloutWorld, RolloutWorlds, counted

NOW = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
CANARY = {"strategy": "canary", "canary": {"steps": [0.1, 0.5]}}


@pytest.fixture
def canary(rollout_world: RolloutWorlds) -> RolloutWorld:
    """A canary of version 2 that has just begun."""
    made = rollout_world(CANARY)
    assert (made.serve(), made.judged("r/2", "1")[1]) == ("1", "2")
    made.steps.start("2", by="me", reason="weekly", run_key="rollout/r/2", now=NOW)
    return made


def record(made: RolloutWorld, run_key: str = "rollout/r/2") -> tuple[Any, dict[str, Any]]:
    client = made.world.client
    run = find_run(client, f"{made.name}-rollouts", run_key, kind="rollout")
    assert run is not None
    return run, read_json(client, run.info.run_id, "rollout.json")


def test_a_canary_takes_its_steps_and_is_promoted(canary: RolloutWorld) -> None:
    steps = canary.steps
    assert (canary.plan.share_of("2"), canary.plan.limit) == (0.1, 10_000)

    assert steps.advance(NOW + HOUR / 2).move == "stay"
    canary.report(NOW + HOUR, {"1": counted(9000, 9), "2": counted(1000, 1)})
    first = steps.advance(NOW + HOUR)
    assert (first.move, first.share, first.state) == ("next", 0.5, "running")
    assert steps.advance(NOW + 2 * HOUR).move == "stay", "what was counted in the step before does not count"
    canary.report(NOW + 2 * HOUR, {"1": counted(2000, 2), "2": counted(2000, 2)})
    last = steps.advance(NOW + 2 * HOUR)

    assert (last.move, last.state, canary.champion) == ("promote", "promoted", "2")
    promotion = ModelRegistry(canary.world.client).read(canary.name).promotions[-1]
    assert (promotion.previous, promotion.kind, promotion.by) == ("1", "promotion", "me")
    assert promotion.reason.startswith("weekly; canary: all 2 steps passed")
    assert canary.tags("2")["evermodel.rollout"] == "promoted"
    run, stored = record(canary)
    assert [look["move"] for look in stored["looks"]] == ["stay", "next", "stay", "promote"]
    assert (run.data.tags["evermodel.state"], run.info.status) == ("promoted", "FINISHED")
    assert run.data.metrics["challenger_requests"] == 2000
    assert steps.advance(NOW + 3 * HOUR).state == "promoted", "looking again changes nothing"
    assert len(ModelRegistry(canary.world.client).read(canary.name).promotions) == 2


def test_a_breach_gives_everything_back_and_marks_the_version(canary: RolloutWorld) -> None:
    canary.report(NOW + HOUR, {"1": counted(9000, 9), "2": counted(500, 60)})

    look = canary.steps.advance(NOW + HOUR / 4)

    assert (look.move, look.state, canary.champion) == ("roll_back", "rolled_back", "1")
    assert canary.plan.arms == everything_to("1")
    assert canary.tags("2")["evermodel.rollout"] == "rejected"
    assert "60 of 500 (12.00%) errors" in canary.tags("2")["evermodel.rollout_reason"]
    assert len(ModelRegistry(canary.world.client).read(canary.name).promotions) == 1


def test_a_second_rollout_waits_for_the_first_and_the_same_one_starts_once(canary: RolloutWorld) -> None:
    again = canary.steps.start("2", by="me", reason="weekly", run_key="rollout/r/2")
    assert again == canary.plan
    canary.judged("r/3", "1")
    with pytest.raises(RolloutError, match="a rollout of version 2 is running"):
        canary.steps.start("3", by="me", reason="x", run_key="rollout/r/3")

    canary.steps.stop(by="ada", reason="change freeze")

    assert (canary.plan.state, canary.plan.verdict) == ("stopped", "stopped by ada: change freeze")
    assert (
        canary.steps.start("3", by="me", reason="x", run_key="rollout/r/3").revision == canary.plan.revision
    )
    assert canary.plan.challenger == "3"


def test_a_rollback_stops_the_rollout_in_flight(world: World, rollout_world: RolloutWorlds) -> None:
    made = rollout_world(CANARY)
    assert (made.serve("r/1"), made.serve("r/2"), made.judged("r/3", "2")[1]) == ("1", "2", "3")
    made.steps.start("3", by="me", reason="weekly", run_key="rollout/r/3", now=NOW)

    roll_back(world.client, made.name, by="ada", reason="wrong answers", run_key="back/1")

    assert (made.champion, made.plan.state, made.plan.arms) == ("1", "stopped", everything_to("1"))
    assert made.plan.verdict == "stopped by a rollback to version 1 (ada: wrong answers)"
    look = made.steps.advance(NOW + HOUR)
    assert (look.state, look.over, made.champion) == ("stopped", True, "1")
    assert made.tags("3")["evermodel.rollout"] == "stopped"


def test_a_promotion_by_hand_ends_the_rollout_so_that_a_later_rollback_does_not_revive_it(
    canary: RolloutWorld,
) -> None:
    client = canary.world.client
    assert canary.judged("r/3", "1")[1] == "3"
    promote_version(client, canary.name, "3", by="me", reason="at once", run_key="hand")
    assert (canary.plan.state, canary.champion) == ("stopped", "3")
    assert canary.plan.verdict == "version 3 was promoted: at once"
    roll_back(client, canary.name, by="me", reason="worse", run_key="back")
    assert (canary.champion, canary.plan.holds("1")) == ("1", False)


def test_a_promotion_by_hand_that_was_interrupted_ends_the_rollout_when_it_is_repeated(
    canary: RolloutWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    retrain, version = canary.judged("r/3", "1")
    for patched in ({"stop_active_rollout": interrupted}, {}):
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            for name, value in patched.items():
                patch.setattr(f"evermodel.deployment.promotion.{name}", value)
            promote_version(
                canary.world.client, canary.name, version, by="me", reason="at once", run_key="hand"
            )
        assert (canary.champion, canary.plan.state == "stopped") == ("3", not patched)
    assert canary.plan.verdict == "version 3 was promoted: at once"
    assert retrain.mlflow_run().data.tags["evermodel.outcome"] == "deployed"


def test_a_rollout_ends_when_somebody_else_changes_the_champion(canary: RolloutWorld) -> None:
    version = canary.judged("r/3", "1")[1]
    promoted(
        ModelRegistry(canary.world.client),
        canary.name,
        version,
        expected="1",
        by="eve",
        reason="x",
        run_key="elsewhere",
    )

    look = canary.steps.advance(NOW + HOUR)

    assert (look.state, canary.champion) == ("stopped", "3")
    assert "version 3 is champion now" in look.why


def test_a_rollback_at_the_moment_of_a_look_ends_the_rollout_without_an_error(
    canary: RolloutWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, whole = canary.world.client, moves.ended_plan
    version = canary.judged("r/3", "1")[1]
    promoted(
        ModelRegistry(client),
        canary.name,
        version,
        expected="1",
        by="eve",
        reason="x",
        run_key="elsewhere",
    )

    def ended(*args: Any) -> Any:
        monkeypatch.setattr("evermodel.deployment.rollout.moves.ended_plan", whole)
        roll_back(client, canary.name, by="ada", reason="worse", run_key="back", version="1")
        stop_active_rollout(client, ModelRegistry(client).read(canary.name), "somebody was quicker", "3")
        return whole(*args)

    monkeypatch.setattr("evermodel.deployment.rollout.moves.ended_plan", ended)
    look = canary.steps.advance(NOW + HOUR)

    assert (look.state, look.why) == ("stopped", "somebody was quicker")
    assert canary.champion == "1"


def test_the_audit_log_names_the_person_who_stopped_a_rollout_and_evermodel_for_what_it_did(
    canary: RolloutWorld, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "evermodel.audit")
    canary.report(NOW + HOUR, {"1": counted(9000, 9), "2": counted(1000, 1)})
    canary.steps.advance(NOW + HOUR)
    canary.steps.stop(by="ada", reason="change freeze")

    lines = [record.getMessage() for record in caplog.records if "event=traffic" in record.getMessage()]
    assert ["by=evermodel" in lines[0], "by=ada" in lines[1]] == [True, True], lines


def test_a_version_without_a_good_decision_or_approval_is_refused(canary: RolloutWorld) -> None:
    canary.steps.stop(by="me", reason="next")
    canary.judged("r/no", "1", ship=False)
    with pytest.raises(RolloutError, match="the decision on version 3 is not to promote"):
        canary.steps.start("3", by="me", reason="x", run_key="k/3")
    with pytest.raises(RolloutError, match="version 1 is the champion"):
        canary.steps.start("1", by="me", reason="x", run_key="k/1")
    with pytest.raises(PromotionError, match="has no version 9"):
        canary.steps.start("9", by="me", reason="x", run_key="k/9")
    canary.world.client.set_model_version_tag(canary.name, "2", "evermodel.rejected_by", "ada")
    with pytest.raises(RolloutError, match="was rejected by ada"):
        canary.steps.start("2", by="me", reason="x", run_key="k/2")
    canary.serve("r/4")
    canary.world.client.delete_model_version_tag(canary.name, "2", "evermodel.rejected_by")
    with pytest.raises(RolloutError, match="was evaluated against version 1, but the champion is version 4"):
        canary.steps.start("2", by="me", reason="x", run_key="k/2")


def test_blue_green_switches_is_watched_and_goes_back_in_one_promotion(
    world: World, rollout_world: RolloutWorlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "smoke_test", lambda *args: Smoke(5, "", 1.0, 1.0))
    made = rollout_world({"strategy": "blue_green"})
    assert (made.serve(), made.judged("r/2", "1")[1]) == ("1", "2")
    made.steps.start("2", by="me", reason="weekly", run_key="k/2", now=NOW)
    assert made.plan.versions == ("1", "2"), "green is in memory before it answers"
    made.report(NOW, {"1": counted(5000, 5)})

    switched = made.steps.advance(NOW + HOUR / 10)

    assert (switched.move, switched.state, made.champion) == ("promote", "running", "2")
    assert (made.plan.holds("2"), made.plan.warm, made.plan.share_of("2")) == (True, ("1",), 1.0)
    made.report(NOW, {"2": counted(1000, 100)})
    back = made.steps.advance(NOW + HOUR / 5)
    assert (back.move, back.state, made.champion) == ("roll_back", "rolled_back", "1")
    assert [(p.kind, p.by) for p in ModelRegistry(world.client).read(made.name).promotions][1:] == [
        ("promotion", "me"),
        ("rollback", "evermodel"),
    ]
    assert made.plan.arms == everything_to("1")
