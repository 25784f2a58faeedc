"""Notes of DAG runs: what came out, in a sentence with a link, where Airflow lists the runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models import DagRun
    from airflow.sdk import Context

    from evermodel.alerts.message import Message

TAG = "evermodel"
KEY = "evermodel_note"
_OURS = "evermodel: "
_MOST, _MOST_WORDS = 1000, 500  # Airflow keeps 1,000 characters


def leave_note(context: Context, text: str, links: Mapping[str, str]) -> None:
    """Say what came out of this DAG run; the scheduler makes it the run's note when the run has ended.

    Tasks cannot write notes, so it travels as an XCom.
    """
    linked = " · ".join(f"[{label}](<{url}>)" for label, url in links.items() if url)
    said = f"{_OURS}{text[:_MOST_WORDS]}"
    whole = f"{said}\n\n{linked}" if linked else said
    context["ti"].xcom_push(key=KEY, value=whole if len(whole) <= _MOST else said)


def told_in(message: Message) -> str:
    """Return the sentence of a message that says what came out; the line before names the model, as the DAG does."""
    return message.text.splitlines()[1]


class RunNotes:
    """Writes the notes of the runs of DAGs with the tag ``evermodel``; a note of a person stays."""

    @hookimpl
    def on_dag_run_success(self, dag_run: DagRun, msg: str) -> None:
        """Write the note."""
        _write(dag_run)

    @hookimpl
    def on_dag_run_failed(self, dag_run: DagRun, msg: str) -> None:
        """Write the note of what was done before a task failed."""
        _write(dag_run)


def _write(dag_run: Any) -> None:
    """Write what a task left, if the run has no other note, in the scheduler's own transaction."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    # `dag.test()` and `airflow dags test` pass a run without a transaction; a second one would wait for the scheduler's.
    if session is None or TAG not in getattr(dag_run.dag, "tags", ()) or not _replaceable(dag_run.note):
        return
    query = select(XComModel.value).where(XComModel.dag_run_id == dag_run.id, XComModel.key == KEY)
    for value in session.scalars(query.order_by(XComModel.timestamp.desc()).limit(1)):
        if str(value).startswith(_OURS):  # another backend of XComs may keep an address there
            dag_run.note = str(value)[:_MOST]


def _replaceable(note: str | None) -> bool:
    return not note or note.startswith(_OURS)
