"""The command that makes a registered version the champion by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from evermodel.cli.options import AsJson, Model


def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="Version in the registry.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the registry's history.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also against its decision, or one made against another champion.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a registered version the champion: one that waits for approval, or any judged one by force."""
    import getpass
    import uuid
    from dataclasses import asdict

    from evermodel.cli.answer import print_json
    from evermodel.cli.steps import quiet_libraries
    from evermodel.promotion import promote_version
    from evermodel.settings import Settings
    from evermodel.tracking import connect

    quiet_libraries()
    client = connect(Settings.from_environment().tracking_uri)
    key = f"promote/{model}/{uuid.uuid4().hex[:12]}"
    done = promote_version(
        client, model, version, by=getpass.getuser(), reason=reason, run_key=key, force=force
    )
    if as_json:
        print_json(asdict(done))
    else:
        typer.echo(f"{model}: version {done.version} is champion now (before: {done.previous or 'none'})")
