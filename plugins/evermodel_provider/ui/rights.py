"""Access to models: a user sees a model if they may read its retrain DAG, or the drift DAG of a watched one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.models.dag import DagModel

from evermodel.core.dag_ids import dag_id


def readable(models: Mapping[str, bool], user: Any) -> set[str]:
    """Return the models that a user may see.

    :param models: Whether each is watched, by its name.
    """
    wanted = {dag_id("drift" if watched else "retrain", name): name for name, watched in models.items()}
    by_team: dict[str | None, set[str]] = defaultdict(set)
    teams = DagModel.get_dag_id_to_team_name_mapping(list(wanted)) if wanted else {}
    for dag in wanted:
        by_team[teams.get(dag)].add(dag)
    allowed: set[str] = set()
    for team, dags in by_team.items():
        allowed |= get_auth_manager().filter_authorized_dag_ids(
            dag_ids=dags, user=user, method="GET", team_name=team
        )
    return {wanted[dag] for dag in allowed}


def may_see(model: str, user: Any, *, watched: bool) -> bool:
    """Return whether a user may see a model."""
    return model in readable({model: watched}, user)


def may_see_any(user: Any) -> bool:
    """Return whether a user may read at least one DAG."""
    manager = get_auth_manager()
    return bool(
        manager.is_authorized_dag(method="GET", user=user) or manager.get_authorized_dag_ids(user=user)
    )


def may_start(dag: str, user: Any) -> bool:
    """Return whether a user may start runs of a DAG."""
    details = DagDetails(id=dag, team_name=DagModel.get_team_name(dag))
    return bool(
        get_auth_manager().is_authorized_dag(
            method="POST", access_entity=DagAccessEntity.RUN, details=details, user=user
        )
    )
