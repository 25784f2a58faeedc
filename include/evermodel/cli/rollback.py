"""The command that goes back to an earlier champion."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def rollback(
    model: Annotated[str, typer.Argument(help="Model.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the registry's history.")],
    to: Annotated[str | None, typer.Option(help="Version; the last one that served if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make an earlier champion the champion again; serving processes follow within seconds."""
    import getpass
    import uuid
    from dataclasses import asdict

    from evermodel.rollback import roll_back
    from evermodel.settings import Settings
    from evermodel.tracking import connect

    client = connect(Settings.from_environment().tracking_uri)
    key = f"rollback/{model}/{uuid.uuid4().hex[:12]}"
    done = roll_back(client, model, by=getpass.getuser(), reason=reason, run_key=key, version=to)
    said = f"{model}: version {done.version} is champion again, version {done.previous} no longer serves"
    typer.echo(json.dumps(asdict(done), indent=2) if as_json else said)
