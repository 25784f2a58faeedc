from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from evermodel.core.environment import environment_digest, git_commit, thread_count
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import PREVIOUS
from support.flights import World
from support.paths import PROJECT


def test_a_second_retrain_is_compared_with_the_first_champion(world: World) -> None:
    first = world.champion("2013-03-11")

    second = world.champion("2013-03-25")

    previous = ModelRegistry(world.client).at_alias(world.name, PREVIOUS)
    assert str(ModelRegistry(world.client).champion(world.name).version) == second
    assert previous is not None
    assert str(previous.version) == first
    assert [(p.previous, p.version) for p in ModelRegistry(world.client).read(world.name).promotions] == [
        (None, first),
        (first, second),
    ]


def test_running_every_step_again_leaves_one_version_and_one_champion(world: World) -> None:
    version = world.champion("2013-03-11")

    again = world.champion("2013-03-11")

    assert again == version
    assert len(world.client.search_model_versions(f"name = '{world.name}'")) == 1
    assert len(ModelRegistry(world.client).read(world.name).promotions) == 1


REASON = "drift since 2013-03-04: 2 of 16 columns drift"


def test_a_version_names_everything_that_it_came_from_and_why_everywhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = partial(World.retrain, world, reason=REASON)
    monkeypatch.setattr(world, "retrain", asked)
    version = world.client.get_model_version(world.name, world.champion("2013-03-11", evidence=True))
    run = world.retrain("2013-03-11").mlflow_run()
    packages, page = (
        world.client.download_artifacts(run.info.run_id, name, str(world.folder))
        for name in ("environment.txt", "decision.html")
    )

    (promotion,) = ModelRegistry(world.client).read(world.name).promotions
    tags = {run.data.tags["evermodel.reason"], version.tags["evermodel.reason"]}
    assert {promotion.reason, *tags} == {REASON}
    assert REASON in Path(page).read_text()
    assert REASON in version.description

    assert "scikit-learn==" in Path(packages).read_text()
    assert version.tags["evermodel.environment_digest"] == environment_digest()
    assert version.tags["evermodel.threads"] == thread_count()
    assert version.tags["evermodel.fastpath"].startswith("ONNX Runtime serves: on ")
    assert version.tags["evermodel.spec_digest"] == world.spec.digest
    assert version.tags["evermodel.snapshot_md5"] == run.data.tags["evermodel.snapshot_md5"]
    assert version.tags["evermodel.git_commit"] == git_commit(world.settings.models)
    assert len(git_commit(PROJECT).removesuffix("-dirty")) == 40
