"""Register and deploy, killed around every request that changes the registry, and then run again."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

import pytest

from evermodel.evaluation.decision import Decision
from evermodel.pipelines.retrain import Retrain
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.retrain_run import DECISION_FILE
from evermodel.registry.tracking import connect, keyed_run, log_json
from support.flights import World
from support.killed_steps import changes_any, changes_registry, count_changes, kill_at

SNAPSHOT = {"path": "snapshots/x.parquet", "md5": "0" * 32}


@pytest.fixture
def world(served_world: World) -> World:
    """Steps are killed around the requests that they send."""
    return served_world


@dataclass
class Shelf:
    """A model whose retrains follow each other, each with its decision written by hand: training is not what dies."""

    world: World
    name: str
    champion: str = ""
    past: int = 0

    def prepare(self) -> Retrain:
        """Write what the steps before register leave behind: the challenger may ship, over today's champion."""
        spec = self.world.spec.model_copy(update={"name": self.name})
        retrain = replace(self.world.retrain("2013-03-25", run_key=f"r/{self.past}"), spec=spec)
        run = keyed_run(
            retrain.client, self.name, f"{retrain.run_key}/linear", kind="candidate", name="linear"
        )
        decision = Decision(
            self.name, retrain.run_key, "linear", f"{run.info.artifact_uri}/model", self.champion or None, "roc_auc",
            "better", True, False, "all gates passed", 100, (0.8, 0.7, 0.9), None, None, (),
        )  # fmt: skip
        known = {"evermodel.snapshot": SNAPSHOT["path"], "evermodel.snapshot_md5": SNAPSHOT["md5"]}
        log_json(retrain.client, retrain.mlflow_run(known).info.run_id, decision.to_json(), DECISION_FILE)
        return retrain

    def check(self, retrain: Retrain, version: str) -> None:
        client, before = retrain.client, self.champion or None
        mine = ModelRegistry(client).versions(self.name, retrain.run_key)
        assert [str(v.version) for v in mine] == [version]
        assert len(client.search_model_versions(f"name = '{self.name}'")) == self.past + 1
        model = client.get_registered_model(self.name)
        expected = {"champion": version, **({"previous": before} if before else {})}
        assert {alias: str(v) for alias, v in model.aliases.items()} == expected
        past = ModelRegistry(client).read(self.name).promotions
        assert len(past) == self.past + 1
        assert (past[-1].previous, past[-1].version, past[-1].run_key) == (before, version, retrain.run_key)
        tags = retrain.mlflow_run().data.tags
        assert (tags["evermodel.outcome"], tags["evermodel.version"]) == ("deployed", version)
        self.champion, self.past = version, self.past + 1


def _register_and_deploy(retrain: Retrain) -> str:
    """Run the two steps as their tasks do, with a client of this process."""
    retrain = replace(retrain, client=connect(retrain.settings.tracking_uri))
    version = str(retrain.register(SNAPSHOT).version)
    retrain.deploy(version, "ada")
    return version


def _new_shelf(world: World) -> Shelf:
    return Shelf(world, f"crash_{uuid.uuid4().hex[:8]}")


def test_register_and_deploy_killed_around_any_change_end_as_if_nothing_had_happened(world: World) -> None:
    shelf = _new_shelf(world)
    for _ in range(2):  # a cold start, then a promotion over it
        retrain = shelf.prepare()
        changes = count_changes(lambda it=retrain: _register_and_deploy(it))  # type: ignore[misc]
        shelf.check(retrain, _register_and_deploy(retrain))
    registry_changes, all_changes = changes[changes_registry], changes[changes_any]
    # The version, challenger, three tags of the approval; then the record, champion, challenger and previous; and the audit log's end, twice.
    assert registry_changes == 11
    assert all_changes > registry_changes

    # Right after one change the registry is as right before the next, so that "before" adds the first alone.
    points = [
        (changes_registry, 1, False),
        *((changes_registry, k + 1, True) for k in range(registry_changes)),
    ]
    points += [(changes_any, 1, True), (changes_any, all_changes, False), (changes_any, all_changes, True)]
    for which, number, after in points:
        retrain = shelf.prepare()
        kill_at(lambda it=retrain: _register_and_deploy(it), which, number, after=after)  # type: ignore[misc]
        shelf.check(retrain, _register_and_deploy(retrain))


@pytest.mark.parametrize("number", [2, 4, 5])
def test_a_cold_start_killed_after_a_change_is_completed(world: World, number: int) -> None:
    shelf = _new_shelf(world)
    retrain = shelf.prepare()

    kill_at(lambda: _register_and_deploy(retrain), changes_registry, number, after=True)

    shelf.check(retrain, _register_and_deploy(retrain))
