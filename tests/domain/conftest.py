from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.flights import World
from support.performance_log import PerformanceWorld, PerformanceWorlds
from support.rollouts import RolloutWorld, RolloutWorlds
from support.small_spec import small_spec


@pytest.fixture
def performance_world(tmp_path: Path) -> PerformanceWorlds:
    """Makes a small model whose predictions and labels lie in a folder; sections of its spec are given."""

    def make(**sections: Any) -> PerformanceWorld:
        source = {"path": str(tmp_path / "small.parquet")}
        label = {"column": "late", "delay": "2d"}
        return PerformanceWorld(tmp_path, small_spec(**{"source": source, "label": label, **sections}))

    return make


@pytest.fixture
def rollout_world(world: World) -> RolloutWorlds:
    """Makes a model of the registry that rolls out as the given section of its spec says."""
    return lambda rollout: RolloutWorld(world, rollout)
