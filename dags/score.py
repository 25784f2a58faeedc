"""The daily scoring of every model by its champion: the previous day, or the days given in the form."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from evermodel_provider.assets import predictions
from evermodel_provider.dag_parts import default_args, describe, specs_to_parse, task_resources, team_access
from evermodel_provider.operators.score import ScoreOperator, score_form
from evermodel_provider.sensors.data import DaysToScoreSensor

for spec in specs_to_parse("score"):
    cron = spec.schedule.score
    with DAG(
        dag_id=f"score_{spec.name}",
        description=f"Score the previous day with the champion of {spec.name}",
        doc_md=describe(spec),
        access_control=team_access(spec),
        schedule=CronTriggerTimetable(cron, timezone="UTC") if cron else None,
        catchup=False,
        max_active_runs=2,
        params=score_form(),
        default_args=default_args(spec),
        tags=["evermodel", "score", spec.name],
    ) as dag:
        new_data = DaysToScoreSensor(task_id="new_data", model=spec.name)
        ScoreOperator.partial(
            task_id="score",
            model=spec.name,
            outlets=[predictions(spec.name)],
            map_index_template="{{ day }}",
            max_active_tis_per_dagrun=spec.score.at_once,
            **task_resources(spec, "scoring"),
        ).expand(as_of=new_data.output)
    globals()[dag.dag_id] = dag
