"""The command that replays weeks of 2013 on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    leave: Annotated[bool, typer.Option("--exit", help="Stop everything at the end.")] = False,
    home: Annotated[Path, typer.Option(help="Folder for everything that the demo writes.")] = Path(
        ".evermodel/demo"
    ),
    project: Annotated[Path, typer.Option(help="Folder with dags/ and include/models/.")] = Path(),
) -> None:
    """Replay weeks of 2013 on this machine: train, score, drift, alert, retrain, serve."""
    from evermodel.demo.run import run_demo

    raise typer.Exit(0 if run_demo(home, project, leave=leave) else 1)
