"""The command that replays weeks of 2013 on this machine."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from evermodel.cli.options import AsJson


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="Stop everything at the end.")] = False,
    home: Annotated[Path, typer.Option(help="Folder for all files of the demo.")] = Path(".evermodel/demo"),
    project: Annotated[Path, typer.Option(help="Folder with dags/ and include/models/.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Replay weeks of 2013 on this machine: train, score, drift, alert, retrain, serve.

    With --json progress goes to stderr, everything stops at the end, and stdout has the result.
    """
    from evermodel.cli.answer import print_json
    from evermodel.cli.demo_replay.run import run_demo

    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        well = run_demo(home, project, leave=leave or as_json)
    if as_json:
        print_json({"ok": well, "home": home.absolute()})
    raise typer.Exit(0 if well else 1)
