"""Asking for a retrain; whole runs that ask are in tests/dags."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.context import OutletEventAccessors

from evermodel_provider.assets import retrain_wanted
from evermodel_provider.operators.ask import AskForRetrainOperator
from worlds import World


def test_a_task_whose_outlets_lack_the_request_fails_instead_of_asking_nobody(world: World) -> None:
    with DAG("drift_by_path", schedule=None):
        task = AskForRetrainOperator(task_id="ask", model=str(world.spec_file), as_of="2013-03-18")
    context: Any = {"outlet_events": OutletEventAccessors()}

    with pytest.raises(AirflowFailException, match="would start nothing") as caught:
        task.execute(context)
    assert f"outlets=[retrain_wanted('{world.name}')]" in str(caught.value)


def test_the_request_goes_to_the_asset_that_starts_the_retrain() -> None:
    with DAG("drift_flights", schedule=None):
        task = AskForRetrainOperator(task_id="ask", model="flights")
    assert task.outlets == [retrain_wanted("flights")]
