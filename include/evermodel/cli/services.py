"""The commands that keep services running: serving, and the demo."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, model_names
from evermodel.core.extras import named_extras


def serve(
    models: Annotated[list[str], typer.Argument(help="Models to serve.", autocompletion=model_names)],
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    poll_seconds: Annotated[float, typer.Option(help="Seconds between two reads of the registry.")] = 2.0,
    workers: Annotated[int, typer.Option(min=1, help="Number of serving processes.")] = 1,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Log each prediction request, without its values.")
    ] = False,
    limit_concurrency: Annotated[
        int | None, typer.Option(min=1, help="Connection limit of one process; beyond it a 503.")
    ] = None,
) -> None:
    """Serve the champions over HTTP, and follow every promotion without a restart."""
    with named_extras("serve"):
        from evermodel.serving.run import serve as run

        run(
            models,
            host=host,
            port=port,
            poll_seconds=poll_seconds,
            workers=workers,
            access_log=access_log,
            limit_concurrency=limit_concurrency,
        )


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="Stop everything at the end.")] = False,
    home: Annotated[Path, typer.Option(help="Folder for all files of the demo.")] = Path(".evermodel/demo"),
    project: Annotated[Path, typer.Option(help="Folder with dags/ and include/models/.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Replay weeks of 2013 on this machine: train, score, drift, alert, retrain, serve.

    With --json progress goes to stderr, everything stops at the end, and stdout has the result.
    """
    with named_extras("demo"):
        from evermodel.cli.demo_replay.run import run_demo

    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        well = run_demo(home, project, leave=leave or as_json)
    if as_json:
        output.print_json({"ok": well, "home": home.absolute()})
    raise typer.Exit(0 if well else 1)
