"""The commands that change the champion: a version by hand, with an approval or from another environment, or an earlier one."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli import output
from evermodel.cli.messages import tell
from evermodel.cli.options import AsJson, Model, Reason, RunKey, Version, read_spec
from evermodel.core.environment import os_user
from evermodel.core.errors import PromotionError, TransferError
from evermodel.registry.tracking import connect, version_url

if TYPE_CHECKING:
    from evermodel.pipelines.deploy import Deployment


def promote(
    model: Model,
    version: Version,
    reason: Reason,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Promote in spite of a negative decision, or one against another champion."
        ),
    ] = False,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve the version, and deploy it by the spec's `rollout`.")
    ] = False,
    source: Annotated[
        str | None, typer.Option("--from", help="Environment in which the version has served.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", help="Target environment, with the version's decision and lineage.")
    ] = None,
    run_key: RunKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a registered version the champion at once: a version pending approval, or any evaluated one with --force.

    With --approve the spec's rollout strategy applies. With --from and --to, transfer a version that has
    served in one environment to the registry of another (EVERMODEL_MLFLOW_<ENVIRONMENT>); there it is deployed by the
    spec, or waits for approval. If the spec lists approvers, only they may promote or approve.
    """
    ways = {"--from and --to": source or target, "--approve": approve, "--force": force}
    given = [way for way, wanted in ways.items() if wanted]
    if len(given) > 1:
        raise PromotionError(
            f"model {model}: {' and '.join(given)} cannot be combined",
            "transfer the version first, then approve or force it there",
        )
    if run_key and (approve or source or target):
        raise PromotionError(
            f"model {model}: --run-key cannot be combined with {given[0]}",
            "leave it out: the version's own run key makes a repetition safe",
        )
    if source or target:
        _take(model, version, source, target, reason, as_json)
    elif approve:
        _approve(model, version, reason, as_json)
    else:
        _by_hand(model, version, reason, force, run_key, as_json)


def _by_hand(model: str, version: str, reason: str, force: bool, run_key: str | None, as_json: bool) -> None:
    """Make a version the champion at once."""
    from evermodel.deployment.promotion import promote_version
    from evermodel.pipelines.deploy import require_approver_login

    (spec, settings), by = read_spec(model), os_user()
    require_approver_login(spec, by, force=force)
    key = run_key or f"promote/{model}/{uuid.uuid4().hex[:12]}"
    with output.waiting("reading MLflow"):
        client = connect(settings.tracking_uri)
        done = promote_version(client, model, version, by=by, reason=reason, run_key=key, force=force)
    said = f"{model}: version {done.version} is champion now (before: {done.previous or 'none'})"
    output.answer(as_json, asdict(done), said)


def _approve(model: str, version: str, reason: str, as_json: bool) -> None:
    """Approve a waiting version, as the user who runs the command."""
    from evermodel.pipelines.deploy import approve

    spec, settings = read_spec(model)
    with output.waiting("reading MLflow"):
        client = connect(settings.tracking_uri)
        done = approve(spec, version, client, settings, by=os_user(), reason=reason)
    output.answer(as_json, asdict(done), _ending(done, settings.environment))


def _take(
    model: str, version: str, source: str | None, target: str | None, reason: str, as_json: bool
) -> None:
    """Transfer a version to another environment."""
    from evermodel.core.settings import Settings
    from evermodel.pipelines.transfer import transfer
    from evermodel.spec import load_spec

    if not source or not target:
        raise TransferError("a transfer needs two environments", "pass both --from and --to")
    settings = Settings.from_environment().model_copy(update={"environment": target})
    spec = load_spec(model, settings)
    with output.step("transfer") as say:
        done = transfer(
            spec,
            version,
            source=source,
            target=target,
            by=os_user(),
            reason=reason,
            settings=settings,
        )
        say(f"{done.origin} is version {done.version} in {target}")
    output.answer(as_json, done.to_json(), _ending(done.deployment, target))


def _ending(done: Deployment, environment: str) -> str:
    """Return the outcome of a version, and the next command."""
    model, version = done.model, done.version
    there, before = f"{model}: version {version}", done.previous or "none"
    again = f'evermodel promote {model} {version} --approve --reason "…"'
    stays = f"version {done.previous} stays champion" if done.previous else "the model has no champion yet"
    said = {
        "champion": f"{there} is champion in {environment} (before: {before})",
        "rolling out": f"{there} is being rolled out in {environment} ({done.strategy}); {stays} until it ends. "
        f"To advance the rollout: evermodel rollout advance {model}",
        "waits for approval": f"{there} waits for approval in {environment}; {stays}. "
        f"To approve it there: {again}",
        "held back": f"{there} is held back in {environment}: {done.why}; {stays}. "
        f'To promote it anyway, there: evermodel promote {model} {version} --force --reason "…"',
        "served before": f"{there} served before in {environment}, and is not promoted again; {stays}. "
        f'To restore it, there: evermodel rollback {model} --to {version} --reason "…"',
        "rollout ended": f"{there} was rolled out in {environment} before ({done.why}), and is not rolled out again; "
        f'{stays}. To restart it, there: evermodel rollout start {model} {version} --reason "…"',
    }
    return said[done.outcome]


def rollback(
    model: Model,
    reason: Reason,
    to: Annotated[str | None, typer.Option(help="Version. Default: the last one that served.")] = None,
    run_key: RunKey = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier champion the champion again; serving processes follow within seconds, and a message is sent."""
    from evermodel.alerts.rollout_message import rollback_message
    from evermodel.core.settings import Settings
    from evermodel.deployment.rollback import roll_back
    from evermodel.deployment.rollout.moves import active_rollout
    from evermodel.registry.registry import ModelRegistry

    settings = Settings.from_environment()
    with output.waiting("reading MLflow"):
        client = connect(settings.tracking_uri)
        flight = active_rollout(ModelRegistry(client).read(model))
        done = roll_back(client, model, by=os_user(), reason=reason, run_key=run_key, version=to)
    url = version_url(settings.tracking_uri, model, done.version)
    stopped = flight.challenger if flight else ""
    tell(model, settings, "rollback", rollback_message(model, done, {"Model version": url}, stopped), url)
    said = f"{model}: version {done.version} is champion again, version {done.previous} no longer serves"
    if flight is not None:
        said += f"; the rollout of version {flight.challenger} is stopped"
    output.answer(as_json, asdict(done), said)
