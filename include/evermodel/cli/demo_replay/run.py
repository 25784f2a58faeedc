"""Run the demo: prepare, start everything, replay, sum up, stay until Ctrl-C."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evermodel.cli.demo_replay.index_page import open_in_browser, write_index
from evermodel.cli.demo_replay.requests import SteadyClient
from evermodel.cli.demo_replay.story import COLD_START, HISTORY, MODEL, DemoReplay
from evermodel.cli.local_stack.local import LocalStack
from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import EvermodelError, SpecError
from evermodel.core.settings import Settings

_EXTRAS = {"EVERMODEL_SCHEDULES": "off", "EVERMODEL_ENVIRONMENT": "demo"}
_LEFTOVERS = ("airflow", "mlflow", "lake", "outbox", "dvc-remote", "model-cache", "evidently", "spool")


def run_demo(home: Path, project: Path, *, leave: bool) -> bool:
    """Run the demo; return whether everything happened as it should.

    Parameters
    ----------
    home
        Folder for everything that the demo writes; files of an earlier run are replaced.
    leave
        Stop everything at the end instead of staying up.
    """
    if not (project / "dags").is_dir():
        raise SpecError(
            f"{project.absolute()} has no folder dags/", "run the demo in a checkout, or pass --project"
        )
    start = time.monotonic()
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 120

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - start:5.0f} s[/dim]  {escape(text)}")

    finished = False
    try:
        with LocalStack(home, project, extras=_EXTRAS, models=(MODEL,)) as stack:
            stack.ports.require_free()  # before anything of an earlier run is removed
            say(f"starting in {stack.home}; files of an earlier run are replaced")
            for name in _LEFTOVERS:
                shutil.rmtree(stack.home / name, ignore_errors=True)
            for file in stack.home.glob(
                "*.db*"
            ):  # with a message's receipt of an earlier run it is not sent again
                file.unlink()
            row = _prepare(stack.home / "data", Settings.from_environment(stack.environment), say)
            say("starting MLflow, Airflow (scheduler, api-server, dag-processor, triggerer) and serving")
            api = stack.start(lambda name, seconds: say(f"  {name} is up ({seconds:.0f} s)"))
            api.wait_for_dags(
                [dag_id(kind, MODEL) for kind in ("retrain", "score", "drift")] + [dag_id("retrain", HISTORY)]
            )
            with SteadyClient(stack.serving_url, MODEL, row) as client:
                replay = DemoReplay(api, client, say)
                replay.play()
            finished = True
            page = _sum_up(console, stack, replay, time.monotonic() - start, leave=leave)
            if not leave:
                open_in_browser(page)
                console.print("\nEverything stays up until Ctrl-C.")
                stack.supervisor.wait(say)
    except KeyboardInterrupt:
        console.print("\nStopped.")
    except EvermodelError as error:
        console.print(f"[red]✗[/red] {escape(str(error))}")
        return False
    return finished and not replay.problems


def _prepare(folder: Path, settings: Settings, say: Any) -> dict[str, Any]:
    """Write the flights of 2013 and return the features of one of them."""
    from evermodel.data.dtypes import feature_frame
    from evermodel.data.examples.flights import prepare_flights, with_flights
    from evermodel.data.sources import read_window
    from evermodel.spec import load_spec
    from evermodel.spec.window import last_day

    file = prepare_flights(folder)
    say(f"336,776 flights of 2013 out of New York, joined with weather and planes: {file.name}")
    spec = with_flights(load_spec(MODEL, settings), folder)
    rows = read_window(spec, last_day(COLD_START), with_label=False).slice(0, 1)
    frame = feature_frame(spec, rows)
    return {str(k): None if v != v else v for k, v in frame.iloc[0].to_dict().items()}


def _sum_up(console: Console, stack: LocalStack, replay: DemoReplay, seconds: float, *, leave: bool) -> Path:
    """Print the result, and return the page that shows it with links to everything."""
    table = Table(title="What happened", title_justify="left", header_style="bold")
    for column in ("run", "as of", "verdict", "AUC", "sent"):
        table.add_column(column)
    for row in replay.rows:
        style = "red" if row.alarm else ("green" if row.deployed else "")
        table.add_row(row.run, row.as_of, row.verdict, row.metric, row.sent, style=style)
    console.print(table)
    answers = ", ".join(f"{count:,} by version {v}" for v, count in sorted(replay.client.versions.items()))
    answered = f"Requests answered meanwhile: {answers}; failed: {len(replay.client.failures)}."
    champions = sum(row.deployed for row in replay.rows)
    incidents = ", ".join(f"1 incident about {kind}" for kind in replay.opened) or "no incident"
    counted = f"{champions} champions, {incidents}, {replay.quiet_days} quiet days without a message, {seconds:.0f} s."
    console.print(f"{answered}\n{counted}")
    console.print(
        f"\nAirflow  {stack.airflow_url}\nMLflow   {stack.mlflow_url}\nServing  {stack.serving_url}/models"
    )
    page = write_index(stack, replay.rows, f"{counted} {answered}", stopped=leave)
    console.print(f"All of it, with the messages, on one page:\n{page.as_uri()}")
    if replay.problems:
        console.print(f"\n[red]{len(replay.problems)} checks failed:[/red]")
        for problem in replay.problems:
            console.print(f"  ✗ {problem}", markup=False)
    else:
        console.print("\n[green]All checks passed.[/green]")
    return page
