from __future__ import annotations

import pytest

from evermodel.core.errors import PromotionError
from evermodel.deployment.promotion import promote_version
from support.registry_shelf import Shelf


def test_a_version_without_a_decision_is_refused_also_by_force(mlflow_store: str) -> None:
    shelf = Shelf(mlflow_store)
    shelf.register("key 1")
    for force in (False, True):
        with pytest.raises(PromotionError, match="version 1 has no decision"):
            promote_version(shelf.client, shelf.name, "1", by="ada", reason="x", run_key="hand", force=force)
    assert shelf.state[0] is None
