"""The command that tells what is in production."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def status(
    model: Annotated[str, typer.Argument(help="Model to tell about.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell which version of a model is champion, since when, and what was before."""
    from dataclasses import asdict

    from evermodel import registry
    from evermodel.settings import Settings
    from evermodel.tracking import connect

    client = connect(Settings.from_environment().tracking_uri)
    version = registry.champion(client, model)
    past = registry.history(client, model)
    if as_json:
        typer.echo(json.dumps({"champion": version.version, "history": [asdict(p) for p in past]}, indent=2))
        return
    tags = version.tags
    typer.echo(f"{model}: version {version.version} is champion")
    typer.echo(f"  {tags.get('evermodel.metric')} {float(tags['evermodel.metric_value']):.4f} at promotion")
    typer.echo(f"  trained on {tags['evermodel.train_start'][:10]} to {tags['evermodel.train_end'][:10]}")
    typer.echo(f"  snapshot {tags['evermodel.snapshot']} (DVC md5 {tags['evermodel.snapshot_md5']})")
    for promotion in reversed(past):
        before = f"after {promotion.previous}" if promotion.previous else "first"
        typer.echo(
            f"  {promotion.at}  version {promotion.version} ({before}) by {promotion.by}: {promotion.reason}"
        )
