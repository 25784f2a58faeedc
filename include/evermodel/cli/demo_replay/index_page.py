"""The page at the end of the demo: what happened, and where to look."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from evermodel.alerts.outbox_index import INDEX_FILE, outbox_entries, with_answers
from evermodel.cli.demo_replay.story import HISTORY, MODEL, Row
from evermodel.cli.local_stack.local import LocalStack
from evermodel.core.atomic import write_text
from evermodel.core.dag_ids import dag_id
from evermodel.core.html import render


def write_index(stack: LocalStack, rows: Sequence[Row], summary: str, *, stopped: bool) -> Path:
    """Write the page into the demo's folder and return its path.

    Parameters
    ----------
    summary
        One sentence above everything.
    stopped
        The servers do not run any more; the page says so.
    """
    page = stack.home / "index.html"
    text = render(
        "reports/templates/demo.html",
        title="evermodel demo",
        footer=f"evermodel · files in {stack.home}",
        summary=summary,
        stopped=stopped,
        places=_places(stack),
        rows=rows,
        messages=_messages(stack.home),
    )
    write_text(page, text)
    return page


def open_in_browser(page: Path) -> None:
    """Open the page where there is a screen; a browser in the terminal would take the terminal away."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(page.as_uri())


def _places(stack: LocalStack) -> list[tuple[str, str, str]]:
    airflow, mlflow = stack.airflow_url, stack.mlflow_url
    return [
        (
            "The Models page",
            f"{airflow}/plugin/models",
            "the champion, its metric, drift and incidents over time, and buttons for what a person may do.",
        ),
        (
            "The retrain DAG",
            f"{airflow}/dags/{dag_id('retrain', MODEL)}",
            "two runs: the cold start, and the one that drift requested.",
        ),
        (
            "The retrain DAG of the same model with history",
            f"{airflow}/dags/{dag_id('retrain', HISTORY)}",
            "with the delays of the last hours as features, each as it was known at the flight's time.",
        ),
        (
            "The drift DAG",
            f"{airflow}/dags/{dag_id('drift', MODEL)}",
            "one run a day: verdict, report, alert.",
        ),
        (
            "The versions in MLflow",
            f"{mlflow}/#/models/{MODEL}",
            "each with its decision page, model card, data version and reason, under its run's artifacts.",
        ),
        (
            "The serving app",
            f"{stack.serving_url}/docs",
            "send a flight to POST /predict; GET /models names the version that answers.",
        ),
    ]


def _messages(home: Path) -> list[tuple[str, str]]:
    """Return title and relative address of each message, each thread with its answers, and of the outbox's own page."""
    entries = with_answers(reversed(outbox_entries(home / "outbox")))
    found = [(entry.title, f"outbox/{entry.page}") for entry in entries]
    return [*found, ("All messages with their earlier states", f"outbox/{INDEX_FILE}")] if found else []
