"""A spec's team gets its model's DAGs, and no other model's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support.airflow_runs import DAGS, claim_airflow_home
from support.paths import PROJECT
from support.small_spec import small_spec

claim_airflow_home()
SHIPPED = PROJECT / "include" / "models" / "flights.yaml"


def test_the_dags_of_a_model_are_its_team_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.dag_processing.dagbag import DagBag

    spec = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    for name, team in (("flights", None), ("churn", "sales")):
        told = {**spec, "name": name, **({"team": team} if team else {})}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(told))
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path))
    bag = DagBag(str(DAGS))
    assert bag.import_errors == {}
    access = {dag_id: dag.access_control for dag_id, dag in bag.dags.items()}
    theirs = {dag_id for dag_id, given in access.items() if given}
    assert theirs == {dag_id for dag_id in access if dag_id.endswith("_churn")}
    assert len(theirs) == 7
    for dag_id in theirs:
        assert access[dag_id] == {
            "sales": {"DAGs": {"can_read", "can_edit"}, "DAG Runs": {"can_read", "can_create"}}
        }


def test_fab_knows_every_right() -> None:
    from airflow.providers.fab.www.security.permissions import RESOURCE_DETAILS_MAP

    from evermodel_provider.dag_parts import team_access

    rights = team_access(small_spec(team="sales"))
    assert rights is not None
    for resource, actions in rights["sales"].items():
        assert actions <= RESOURCE_DETAILS_MAP[resource]["actions"]
    assert team_access(small_spec()) is None
