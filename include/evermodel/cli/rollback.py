"""The command that restores an earlier champion."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from evermodel.cli.options import AsJson, Model
from evermodel.core.environment import os_user


def rollback(
    model: Model,
    reason: Annotated[str, typer.Option(help="Reason, stored in the registry's history.")],
    to: Annotated[str | None, typer.Option(help="Version. Default: the last one that served.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier champion the champion again; serving processes follow within seconds, and a message is sent."""
    import uuid
    from dataclasses import asdict

    from evermodel.alerts.rollback_message import rollback_message
    from evermodel.cli.messages import tell
    from evermodel.cli.steps import waiting
    from evermodel.core.settings import Settings
    from evermodel.deployment.rollback import roll_back
    from evermodel.deployment.rollout.active import active_rollout
    from evermodel.registry.registry import ModelRegistry
    from evermodel.registry.tracking import connect, version_url

    settings, key = Settings.from_environment(), f"rollback/{model}/{uuid.uuid4().hex[:12]}"
    with waiting("reading MLflow"):
        client = connect(settings.tracking_uri)
        flight = active_rollout(ModelRegistry(client).read(model))
        done = roll_back(client, model, by=os_user(), reason=reason, run_key=key, version=to)
    url = version_url(settings.tracking_uri, model, done.version)
    stopped = flight.challenger if flight else ""
    tell(model, settings, "rollback", rollback_message(model, done, {"Model version": url}, stopped), url)
    said = f"{model}: version {done.version} is champion again, version {done.previous} no longer serves"
    if flight is not None:
        said += f"; the rollout of version {flight.challenger} is stopped"
    typer.echo(json.dumps(asdict(done), indent=2) if as_json else said)
