"""The command that brings a registered version into service: by hand, with an approval, or from another environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli.options import AsJson, Model

if TYPE_CHECKING:
    from evermodel.pipelines.deploy import Deployment


def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="Version in the registry.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the registry's history.")],
    force: Annotated[
        bool, typer.Option("--force", help="Also against its decision, or one made against another champion.")
    ] = False,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve it, and deploy it as the spec's `rollout` says.")
    ] = False,
    source: Annotated[
        str | None, typer.Option("--from", help="Environment in which the version has served.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", help="Environment to take it to, with its decision and lineage.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a registered version the champion at once: one that waits for approval, or any judged one by force.

    With --approve it is rolled out instead, where the spec says so. With --from and --to, take a version that has
    served in one environment to the registry of another (EVERMODEL_MLFLOW_<ENVIRONMENT>); there it is deployed as the
    spec says, or waits for approval. Where the spec names approvers, only they may promote or approve.
    """
    from evermodel.core.errors import PromotionError

    ways = {"--from and --to": source or target, "--approve": approve, "--force": force}
    given = [way for way, wanted in ways.items() if wanted]
    if len(given) > 1:
        raise PromotionError(
            f"model {model}: {' and '.join(given)} do not go together",
            "take the version to the other environment first, then approve it or force it there",
        )
    if source or target:
        _take(model, version, source, target, reason, as_json)
    elif approve:
        _approve(model, version, reason, as_json)
    else:
        _by_hand(model, version, reason, force, as_json)


def _by_hand(model: str, version: str, reason: str, force: bool, as_json: bool) -> None:
    """Make a version the champion at once."""
    import getpass
    import uuid
    from dataclasses import asdict

    from evermodel.cli.answer import print_json
    from evermodel.cli.steps import waiting
    from evermodel.core.settings import Settings
    from evermodel.deployment.promotion import promote_version
    from evermodel.pipelines.deploy import require_approver_login
    from evermodel.registry.tracking import connect
    from evermodel.spec import load_spec

    settings, by = Settings.from_environment(), getpass.getuser()
    require_approver_login(load_spec(model, settings), by)
    key = f"promote/{model}/{uuid.uuid4().hex[:12]}"
    with waiting("asking MLflow"):
        client = connect(settings.tracking_uri)
        done = promote_version(client, model, version, by=by, reason=reason, run_key=key, force=force)
    if as_json:
        print_json(asdict(done))
    else:
        typer.echo(f"{model}: version {done.version} is champion now (before: {done.previous or 'none'})")


def _approve(model: str, version: str, reason: str, as_json: bool) -> None:
    """Approve a version that waits, as the person who runs this."""
    import getpass

    from evermodel.cli.answer import print_json
    from evermodel.cli.steps import waiting
    from evermodel.core.settings import Settings
    from evermodel.pipelines.deploy import approve
    from evermodel.registry.tracking import connect
    from evermodel.spec import load_spec

    settings = Settings.from_environment()
    spec = load_spec(model, settings)
    with waiting("asking MLflow"):
        client = connect(settings.tracking_uri)
        done = approve(spec, version, client, settings, by=getpass.getuser(), reason=reason)
    if as_json:
        print_json(done.to_json())
    else:
        typer.echo(_ending(done, settings.environment))


def _take(
    model: str, version: str, source: str | None, target: str | None, reason: str, as_json: bool
) -> None:
    """Take a version to another environment."""
    import getpass

    from evermodel.cli.answer import print_json
    from evermodel.cli.steps import step
    from evermodel.core.errors import TransferError
    from evermodel.core.settings import Settings
    from evermodel.pipelines.transfer import transfer
    from evermodel.spec import load_spec

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
    else:
        typer.echo(_ending(done.deployment, target))


def _ending(done: Deployment, environment: str) -> str:
    """Say what became of a version, and what to do next."""
    model, version = done.model, done.version
    there, before = f"{model}: version {version}", done.previous or "none"
    again = f'evermodel promote {model} {version} --approve --reason "…"'
    stays = f"version {done.previous} stays champion" if done.previous else "there is no champion yet"
    said = {
        "champion": f"{there} is champion in {environment} (before: {before})",
        "rolling out": f"{there} is being rolled out in {environment} ({done.strategy}); {stays} until that ends. "
        f"To look at the evidence and move on: evermodel rollout advance {model}",
        "waits for approval": f"{there} waits for approval in {environment}; {stays}. "
        f"An approver says yes there: {again}",
        "held back": f"{there} is held back in {environment}: {done.why}; {stays}. "
        f'To promote it all the same, there: evermodel promote {model} {version} --force --reason "…"',
        "served before": f"{there} served before in {environment}, and is not promoted again; {stays}. "
        f'To go back to it, there: evermodel rollback {model} --to {version} --reason "…"',
        "rollout ended": f"{there} was rolled out in {environment} before ({done.why}), and that is not begun again; "
        f'{stays}. To begin again, there: evermodel rollout start {model} {version} --reason "…"',
    }
    return said[done.outcome]
