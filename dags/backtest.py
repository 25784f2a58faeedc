"""The backtest of retrain policies on a model's history: one task per policy, then the comparison."""

from __future__ import annotations

from airflow.sdk import DAG

from evermodel_provider.dag_parts import default_args, describe, pulled, specs_to_parse, team_access
from evermodel_provider.operators.backtest import (
    BacktestPlanOperator,
    BacktestPolicyOperator,
    BacktestReportOperator,
    backtest_form,
)

for spec in specs_to_parse("backtest"):
    with DAG(
        dag_id=f"backtest_{spec.name}",
        description=f"Replay the history of {spec.name} under retrain policies",
        doc_md=describe(spec),
        access_control=team_access(spec),
        schedule=None,
        catchup=False,
        max_active_runs=1,
        params=backtest_form(),
        render_template_as_native_obj=True,
        default_args=default_args(spec),
        tags=["evermodel", "backtest", spec.name],
    ) as dag:
        plan = BacktestPlanOperator(task_id="plan", model=spec.name)
        replay = BacktestPolicyOperator.partial(
            task_id="replay",
            model=spec.name,
            plan=pulled("plan", "plan"),
            map_index_template="{{ task.policy }}",
        ).expand(policy=plan.output)
        compare = BacktestReportOperator(task_id="compare", model=spec.name, plan=pulled("plan", "plan"))

        replay >> compare
    globals()[dag.dag_id] = dag
