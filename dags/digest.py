"""The weekly digest of every team: one message per channel about its models."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from evermodel.alerts.teams import teams
from evermodel_provider.dag_parts import default_args, specs_to_parse
from evermodel_provider.operators.digest import DigestOperator

for team in teams(specs_to_parse("")):
    with DAG(
        dag_id=f"digest_{team.name}",
        description=f"Send {team.owner} the weekly digest of their models",
        doc_md=f"Models: {', '.join(spec.name for spec in team.specs)}. If their `alerts.digest` differ, that of the "
        "first model by name applies.",
        schedule=CronTriggerTimetable(team.cron, timezone="UTC"),
        catchup=False,
        max_active_runs=1,
        default_args=default_args(team.specs[0]),
        tags=["evermodel", "digest"],
    ) as dag:
        DigestOperator(task_id="digest", team=team.owner)
    globals()[dag.dag_id] = dag
