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
    source: Annotated[
        str | None, typer.Option("--from", help="Environment in which the version has served.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", help="Environment to take it to, with its decision and lineage.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a registered version the champion: one that waits for approval, or any judged one by force.

    With --from and --to, take a version that has served in one environment to the registry of another
    (EVERMODEL_MLFLOW_<ENVIRONMENT>); there it is deployed, or waits where the spec asks for approval.
    """
    import getpass
    import uuid
    from dataclasses import asdict

    from evermodel.cli.answer import print_json
    from evermodel.cli.steps import waiting
    from evermodel.promotion import promote_version
    from evermodel.settings import Settings
    from evermodel.tracking import connect

    if source or target:
        _take(model, version, source, target, reason, as_json)
        return
    key = f"promote/{model}/{uuid.uuid4().hex[:12]}"
    with waiting("asking MLflow"):
        client = connect(Settings.from_environment().tracking_uri)
        done = promote_version(
            client, model, version, by=getpass.getuser(), reason=reason, run_key=key, force=force
        )
    if as_json:
        print_json(asdict(done))
    else:
        typer.echo(f"{model}: version {done.version} is champion now (before: {done.previous or 'none'})")


def _take(
    model: str, version: str, source: str | None, target: str | None, reason: str, as_json: bool
) -> None:
    """Take a version to another environment."""
    import getpass

    from evermodel.cli.answer import print_json
    from evermodel.cli.steps import step
    from evermodel.errors import TransferError
    from evermodel.settings import Settings
    from evermodel.spec import load_spec
    from evermodel.transfer import transfer

    if not source or not target:
        raise TransferError("a version goes from one environment to another", "give both --from and --to")
    settings = Settings.from_environment().model_copy(update={"environment": target})
    spec = load_spec(model, settings)
    with step("transfer") as say:
        done = transfer(
            spec,
            version,
            source=source,
            target=target,
            by=getpass.getuser(),
            reason=reason,
            settings=settings,
        )
        say(f"{done.origin} is version {done.version} in {target}")
    if as_json:
        print_json(done.to_json())
    elif done.deployed:
        typer.echo(
            f"{model}: version {done.version} is champion in {target} (before: {done.previous or 'none'})"
        )
    else:
        typer.echo(
            f"{model}: version {done.version} waits for approval in {target}; there: "
            f'evermodel promote {model} {done.version} --reason "…"'
        )
