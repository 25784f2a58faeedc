"""A retrain with the work in another interpreter, as Airflow runs the DAG; `make test-install` has one that ends well."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from support.airflow_runs import messages, retrain
from support.flights import FAST, World

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def elsewhere(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose steps cannot run in this process."""

    def refuse(*args: Any) -> None:
        raise AssertionError("a step ran in the task's own process")

    monkeypatch.setattr("evermodel.pipelines.steps.run_step", refuse)
    world.change(candidates=[FAST], resources={"python": sys.executable})
    return world


def test_results_come_back_and_an_error_is_the_same_as_in_the_task_itself(elsewhere: World) -> None:
    elsewhere.change(validation={"min_rows": 10**6})

    done = retrain(elsewhere, "2013-03-11")

    assert (done.states["new_data"], done.states["extract"]) == ("success", "success")
    assert done.xcom("extract")["rows"] > 1000
    assert done.states["validate"] == "failed"
    assert done.tries["validate"] == 1  # permanent, so that no retry follows
    (message,) = messages(elsewhere)
    assert "1000000" in str(message).replace(",", "")


@pytest.mark.parametrize("form", [{"force": True, "reason": "a fair"}, {"approval": "auto"}])
def test_nobody_overrules_gates_or_approvals_in_another_process(
    elsewhere: World, form: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.change(approval="manual", approvers=["boss"])
    monkeypatch.setattr("evermodel_provider.operators.request.require_named", lambda *args: None)

    done = retrain(elsewhere, "2013-03-11", **form)

    assert (done.states["request"], done.states["extract"]) == ("failed", "upstream_failed")
    (message,) = messages(elsewhere)
    assert "take from nobody" in str(message)
