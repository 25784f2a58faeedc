"""The command that trains a version again and compares."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from evermodel.cli.options import AsJson, Model


def reproduce(
    model: Model,
    version: Annotated[str, typer.Argument(help="Version in the registry.")],
    as_json: AsJson = False,
) -> None:
    """Train a version again from its snapshot, spec and parameters; exit 1 unless answers are identical."""
    from evermodel.cli.steps import step
    from evermodel.core.settings import Settings
    from evermodel.pipelines.reproduce import reproduce as again
    from evermodel.registry.tracking import connect

    settings = Settings.from_environment()
    with step("reproduce") as say:
        found = again(connect(settings.tracking_uri), model, version, settings)
        say("answers are identical" if found.identical else "answers differ")
    typer.echo(json.dumps(found.to_json(), indent=2) if as_json else "\n".join(found.sentences()))
    raise typer.Exit(0 if found.identical else 1)
