"""Every ten minutes: messages that Slack did not take, or that quiet hours held back, are sent in their order."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from evermodel_provider.dag_parts import DEFAULT_ARGS
from evermodel_provider.operators.digest import SendMessagesOperator

with DAG(
    dag_id="evermodel_messages",
    description="Send the messages that wait",
    schedule=CronTriggerTimetable("*/10 * * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    # A message that waits must not wait for somebody who switches this on.
    is_paused_upon_creation=False,
    default_args=DEFAULT_ARGS,
    tags=["evermodel", "messages"],
) as dag:
    SendMessagesOperator(task_id="send")
