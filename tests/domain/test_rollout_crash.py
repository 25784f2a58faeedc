"""Each move of a rollout, killed after every request that changes the registry, and then run again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evermodel.deployment.rollout import collect as gather
from evermodel.deployment.rollout.evidence import Smoke
from evermodel.registry.registry import ModelRegistry
from support.flights import World
from support.killed_steps import changes_registry, count_changes, kill_at
from support.rollouts import RolloutWorld, counted

NOW = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def world(served_world: World) -> World:
    """Steps are killed around the requests that they send."""
    return served_world


def ending(made: RolloutWorld, version: str) -> dict[str, Any]:
    """Return everything of the registry that a move decides."""
    client = made.world.client
    model, plan = client.get_registered_model(made.name), made.plan
    promotions = [
        (p.version, p.previous, p.kind, p.reason) for p in ModelRegistry(client).read(made.name).promotions
    ]
    tags = {key: made.tags(version).get(key) for key in ("evermodel.rollout", "evermodel.rollout_reason")}
    return {
        "aliases": {alias: str(number) for alias, number in model.aliases.items()},
        "history": promotions,
        "plan": (
            plan.state,
            plan.arms,
            plan.champion,
            plan.challenger,
            plan.step,
            plan.revision,
            plan.verdict,
        ),
        "tags": tags,
    }


def begun(world: World, strategy: str) -> RolloutWorld:
    """Return a rollout of version 2 that has begun."""
    made = RolloutWorld(world, {"strategy": strategy, "canary": {"steps": [0.5]}})
    assert (made.serve(), made.judged("r/2", "1")[1]) == ("1", "2")
    made.steps.start("2", by="me", reason="weekly", run_key="k/2", now=NOW)
    return made


# Between the writes of a promotion (1 to 5), after the plan's, after the version's; `test_retrain_crash` has all of a promotion.
@pytest.mark.parametrize(
    ("strategy", "errors", "points"),
    [("canary", 2, (2, 6, 7)), ("canary", 200, (1, 2)), ("blue_green", 200, (2, 8, 10))],
)
def test_a_move_killed_after_a_change_ends_as_if_nothing_had_happened(
    world: World, monkeypatch: pytest.MonkeyPatch, strategy: str, errors: int, points: tuple[int, ...]
) -> None:
    monkeypatch.setattr(gather, "smoke_test", lambda *args: Smoke(5, "", 1.0, 1.0))
    moments = [NOW + HOUR, NOW + 1.5 * HOUR]

    def moves(made: RolloutWorld) -> Callable[[], None]:
        def act() -> None:
            for moment in moments:
                plan = made.plan
                if plan.state == "running":
                    made.report(moment, {"1": counted(2000, 2), "2": counted(2000, errors)})
                made.steps.advance(moment)

        return act

    calm = begun(world, strategy)
    changes = count_changes(moves(calm))[changes_registry]
    expected = ending(calm, "2")
    state = "promoted" if errors == 2 else "rolled_back"
    assert (expected["plan"][0], expected["tags"]["evermodel.rollout"]) == (
        state,
        "promoted" if errors == 2 else "rejected",
    )
    assert changes >= max(points)
    for number in points:
        made = begun(world, strategy)
        kill_at(moves(made), changes_registry, number, after=True)
        moves(made)()
        assert ending(made, "2") == expected, f"killed after change {number} of {changes}"
