"""The message about a failed task, with its error and the link to its log."""

from __future__ import annotations

from evermodel.alerts.blocks import fields, section
from evermodel.alerts.message import Message, compose, shortened
from evermodel.alerts.text import code, code_block, redacted

_NO_ERROR = "No error was recorded; see the task's log."


def failure_message(model: str, dag_id: str, task_id: str, run_id: str, error: str, log_url: str) -> Message:
    """Build the message about a task that failed after all retries; one for each task of a run.

    Parameters
    ----------
    error
        Text of the exception; tokens and passwords in addresses are removed.
    """
    said = redacted(error).strip() or _NO_ERROR
    return compose(
        key=f"failure-{dag_id}-{run_id}-{task_id}",
        model=model,
        severity="failure",
        title=f"{model}: {task_id} failed",
        plain=[
            f"{dag_id}.{task_id} failed in run {run_id}.",
            shortened(said, 1500),
            log_url and f"Log: {log_url}",
        ],
        body=[
            fields({"DAG": code(dag_id, 250), "Task": code(task_id, 250), "Run": code(run_id, 250)}),
            section(code_block(said, 1500)),
        ],
        links={"Log of the task": log_url},
        footer="retries are used up",
    )
