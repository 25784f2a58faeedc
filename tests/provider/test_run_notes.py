"""The note of a DAG run, written when Airflow's scheduler has ended it."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from evermodel_provider.run_notes import leave_note
from support.airflow_runs import run

NUMBERS = count()
LINKS = {"Decision": "http://mlflow/decision", "Report": ""}


class Saying(BaseOperator):
    """Leave a note, and fail if told so."""

    def __init__(self, *, text: str, fails: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.text, self.fails = text, fails

    def execute(self, context: Any) -> None:
        leave_note(context, self.text, LINKS)
        if self.fails:
            raise ValueError("after the note")


def note(
    *texts: str, tags: tuple[str, ...] = ("evermodel",), fails: bool = False, before: str = ""
) -> str | None:
    """Run a DAG whose tasks leave these texts, and return the note that its run has after the scheduler ended it."""
    from airflow.listeners.listener import get_listener_manager
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    with DAG(f"notes_{next(NUMBERS)}", schedule=None, tags=list(tags)) as dag:
        for number, text in enumerate(texts):
            Saying(task_id=f"say_{number}", text=text, fails=fails)
    done = run(dag, "2013-03-11").run
    with create_session() as session:
        ended = session.get(DagRun, done.id)
        ended.dag, ended.note = dag, before or None
        hook = get_listener_manager().hook
        (hook.on_dag_run_failed if fails else hook.on_dag_run_success)(dag_run=ended, msg="ended")
    with create_session() as session:
        kept: str | None = session.get(DagRun, done.id).note
        return kept


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_says_what_came_out_also_if_a_later_step_failed(fails: bool) -> None:
    said = "evermodel: kept the champion\n\n[Decision](<http://mlflow/decision>)"
    assert note("kept the champion", fails=fails) == said
    assert note("kept the champion", fails=fails, before="evermodel: of an earlier try") == said


def test_a_long_one_fits_into_what_airflow_keeps() -> None:
    said = note("x" * 5000)
    assert said is not None
    assert said.startswith("evermodel: xxx")
    assert said.endswith("[Decision](<http://mlflow/decision>)")
    assert len(said) <= 1000


def test_notes_of_people_and_runs_of_other_dags_are_left_alone() -> None:
    assert note("kept the champion", before="looked at by Ada") == "looked at by Ada"
    assert note("kept the champion", tags=("theirs",)) is None
    assert note() is None
