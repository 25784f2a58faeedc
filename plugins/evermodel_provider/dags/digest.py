"""The weekly digest of every team: one message per channel about its models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow.sdk import DAG

from evermodel.alerts.teams import teams
from evermodel_provider.operators.digest import DigestOperator

if TYPE_CHECKING:
    from evermodel_provider.dags.options import DagOptions


def build(options: DagOptions) -> Iterator[DAG]:
    """Yield the DAG of each team."""
    for team in teams(options.specs):
        with options.dag(
            "digest",
            team.specs[0],
            f"Send {team.owner} the weekly digest of their models",
            team=team.name,
            doc_md=f"Models: {', '.join(spec.name for spec in team.specs)}. If their `alerts.digest` differ, that of the "
            "first model by name applies.",
            schedule=options.schedule("digest", team.cron),
        ) as dag:
            DigestOperator(task_id="digest", team=team.owner, **options.models())
        yield dag
