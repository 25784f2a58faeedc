"""Every ten minutes: send the queued messages, in order, that Slack refused or quiet hours delayed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow.sdk import DAG

from evermodel_provider.operators.digest import SendMessagesOperator

if TYPE_CHECKING:
    from evermodel_provider.dags.options import DagOptions


def build(options: DagOptions) -> Iterator[DAG]:
    """Yield the DAG of the installation."""
    with options.dag(
        "messages",
        None,
        "Send the queued messages",
        schedule=options.schedule("messages", "*/10 * * * *"),
        # Active from the start: queued messages must not wait for an unpaused DAG.
        is_paused_upon_creation=False,
    ) as dag:
        SendMessagesOperator(task_id="send", **options.models())
    yield dag
