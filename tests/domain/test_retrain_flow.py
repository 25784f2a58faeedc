from __future__ import annotations

from evermodel import registry
from worlds import World


def test_a_second_retrain_is_compared_with_the_first_champion(world: World) -> None:
    first = world.champion("2013-03-11")

    second = world.champion("2013-03-25")

    previous = registry.alias_version(world.client, world.name, registry.PREVIOUS)
    assert str(registry.champion(world.client, world.name).version) == second
    assert previous is not None
    assert str(previous.version) == first
    assert [(p.previous, p.version) for p in registry.history(world.client, world.name)] == [
        (None, first),
        (first, second),
    ]


def test_running_every_step_again_leaves_one_version_and_one_champion(world: World) -> None:
    version = world.champion("2013-03-11")

    again = world.champion("2013-03-11")

    assert again == version
    assert len(world.client.search_model_versions(f"name = '{world.name}'")) == 1
    assert len(registry.history(world.client, world.name)) == 1
