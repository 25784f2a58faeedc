"""The backtest of retrain policies on a model's history: one task per policy, then the comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG

from evermodel_provider.dag_parts import pulled, task_resources
from evermodel_provider.operators.backtest import (
    BacktestPlanOperator,
    BacktestPolicyOperator,
    BacktestReportOperator,
    backtest_form,
)

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel_provider.dags.options import DagOptions


def build(options: DagOptions, spec: ModelSpec) -> DAG:
    """Return the DAG of one model."""
    model = options.model(spec)
    with options.dag(
        "backtest",
        spec,
        f"Replay the history of {spec.name} under retrain policies",
        schedule=None,
        params=backtest_form(),
        render_template_as_native_obj=True,
    ) as dag:
        plan = BacktestPlanOperator(task_id="plan", model=model)
        replay = BacktestPolicyOperator.partial(
            task_id="replay",
            model=model,
            plan=pulled("plan", "plan"),
            map_index_template="{{ task.policy }}",
            **task_resources(spec, "training"),
        ).expand(policy=plan.output)
        compare = BacktestReportOperator(task_id="compare", model=model, plan=pulled("plan", "plan"))

        replay >> compare
    return dag
