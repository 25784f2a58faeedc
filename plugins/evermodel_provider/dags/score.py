"""The daily scoring of every model by its champion: the previous day, or the days given in the form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG

from evermodel_provider.assets import predictions
from evermodel_provider.dag_parts import task_resources
from evermodel_provider.operators.features import WriteFeaturesOperator
from evermodel_provider.operators.score import ScoreOperator, score_form
from evermodel_provider.sensors.data import DaysToScoreSensor

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel_provider.dags.options import DagOptions


def build(options: DagOptions, spec: ModelSpec) -> DAG:
    """Return the DAG of one model."""
    model = options.model(spec)
    with options.dag(
        "score",
        spec,
        f"Score the previous day with the champion of {spec.name}",
        schedule=options.schedule("score", spec.schedule.score),
        max_active_runs=2,
        params=score_form(),
    ) as dag:
        if spec.features.online is not None:
            # Beside the scoring: the features are of all keys, whether or not they have rows.
            WriteFeaturesOperator(task_id="write_features", model=model, **task_resources(spec, "scoring"))
        new_data = DaysToScoreSensor(task_id="new_data", model=model)
        ScoreOperator.partial(
            task_id="score",
            model=model,
            outlets=[predictions(spec.name)],
            map_index_template="{{ day }}",
            max_active_tis_per_dagrun=spec.score.at_once,
            **task_resources(spec, "scoring"),
        ).expand(as_of=new_data.output)
    return dag
