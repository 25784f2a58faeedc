"""`evermodel rollout …` on a real registry, with serving processes that report."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from evermodel.cli import app
from evermodel.core.errors import PromotionError, RolloutError, SpecError
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.serving_heartbeats import VersionCounts
from support.flights import World
from support.rollouts import RolloutWorld, RolloutWorlds, counted


@pytest.fixture
def made(world: World, rollout_world: RolloutWorlds) -> RolloutWorld:
    """A champion and a challenger that may ship; the spec is on disk under the model's name, as commands read it."""
    found = rollout_world({"strategy": "canary", "canary": {"steps": [0.5], "bake": "0min"}})
    spec = yaml.safe_load(world.spec_file.read_text())
    spec |= {"name": found.name, "rollout": found.rollout}
    (world.settings.models / f"{found.name}.yaml").write_text(yaml.safe_dump(spec))
    assert (found.serve(), found.judged("r/2", "1")[1]) == ("1", "2")
    return found


def rollout(made: RolloutWorld, command: str, *words: str) -> Result:
    return CliRunner().invoke(app, ["rollout", command, made.name, *words])


def answered(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_rollout_by_hand_from_start_to_champion(made: RolloutWorld) -> None:
    assert rollout(made, "status").stdout == f"{made.name}: no rollout yet\n"
    assert rollout(made, "status", "--json").stdout == "null\n"
    assert isinstance(rollout(made, "advance").exception, RolloutError)

    begun = answered(rollout(made, "start", "2", "--reason", "new features", "--key", "k", "--json"))
    assert (begun["strategy"], begun["challenger"], begun["reason"]) == ("canary", "2", "new features")
    again = answered(rollout(made, "start", "2", "--reason", "new features", "--key", "k", "--json"))
    assert again == begun
    shown = rollout(made, "status").stdout
    assert "canary of version 2, step 0, running: version 1 50%, version 2 50%" in shown

    waits = rollout(made, "advance")
    assert (waits.exit_code, waits.stdout.startswith(f"{made.name}: stay: ")) == (0, True), waits.output
    counts: dict[str, VersionCounts] = {"1": counted(3000, 3), "2": counted(3000, 3)}
    made.report(datetime.now(UTC), counts)
    look = answered(rollout(made, "advance", "--json"))
    assert (look["move"], look["state"]) == ("promote", "promoted"), look["why"]
    assert made.champion == "2"
    assert (
        ModelRegistry(made.world.client)
        .read(made.name)
        .promotions[-1]
        .reason.startswith("new features; canary")
    )
    assert answered(rollout(made, "status", "--json"))["state"] == "promoted"


def test_a_rollout_that_is_stopped_or_may_not_begin_leaves_the_champion(made: RolloutWorld) -> None:
    assert isinstance(rollout(made, "start", "2", "--reason", "x", "--strategy", "slow").exception, SpecError)
    assert isinstance(rollout(made, "start", "7", "--reason", "x").exception, PromotionError)
    assert isinstance(rollout(made, "start", "2", "--reason", " ").exception, RolloutError)

    begun = answered(rollout(made, "start", "2", "--reason", "x", "--strategy", "blue_green", "--json"))
    assert begun["strategy"] == "blue_green"
    busy = rollout(made, "start", "2", "--reason", "x").exception
    assert f"evermodel rollout stop {made.name}" in str(busy)

    stopped = rollout(made, "stop", "--reason", "change freeze")
    assert (stopped.exit_code, "stopped: version 1 100%" in stopped.stdout) == (0, True), stopped.output
    assert "change freeze" in stopped.stdout
    assert made.champion == "1"
    assert made.tags("2")["evermodel.rollout"] == "stopped"
