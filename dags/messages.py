"""Every ten minutes: send the queued messages, in order, that Slack refused or quiet hours delayed."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from evermodel_provider.dag_parts import DEFAULT_ARGS
from evermodel_provider.operators.digest import SendMessagesOperator

with DAG(
    dag_id="evermodel_messages",
    description="Send the queued messages",
    schedule=CronTriggerTimetable("*/10 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    # Active from the start: queued messages must not wait for an unpaused DAG.
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    tags=["evermodel", "messages"],
) as dag:
    SendMessagesOperator(task_id="send")
