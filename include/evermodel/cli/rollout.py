"""The commands `evermodel rollout start|status|advance|stop`: a rollout without Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli.options import AsJson, Model
from evermodel.core.environment import os_user

if TYPE_CHECKING:
    from evermodel.deployment.rollout.service import RolloutService
    from evermodel.registry.traffic_plan import TrafficPlan

rollout = typer.Typer(help="Start, advance, show and stop rollouts.", no_args_is_help=True)


@rollout.command()
def start(
    model: Model,
    version: Annotated[str, typer.Argument(help="Version in the registry.")],
    reason: Annotated[str, typer.Option(help="Reason, stored in the registry's history.")],
    strategy: Annotated[str | None, typer.Option(help="Default: the spec's.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: a repetition starts nothing.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start the rollout of a version; the DAG rollout_<model>, or repeated `advance`, moves it."""
    import uuid

    from evermodel.cli.steps import waiting
    from evermodel.core.errors import SpecError
    from evermodel.spec.rollout import STRATEGIES

    chosen = next((known for known in STRATEGIES if known == strategy), None)
    if strategy is not None and chosen is None:
        raise SpecError(f"unknown strategy {strategy}", f"use: {', '.join(STRATEGIES)}")
    with waiting(f"starting version {version}"):
        plan = _rollouts(model).start(
            version,
            by=os_user(),
            reason=reason,
            run_key=key or f"rollout/{model}/{uuid.uuid4().hex[:12]}",
            strategy=chosen,
        )
    _say(plan, as_json)


@rollout.command()
def status(model: Model, as_json: AsJson = False) -> None:
    """Show the last rollout: its step, or its result."""
    from evermodel.cli.steps import waiting
    from evermodel.registry.registry import ModelRegistry

    with waiting("reading MLflow"):
        plan = ModelRegistry(_rollouts(model).client).read(model).plan
    if plan is None and not as_json:
        typer.echo(f"{model}: no rollout yet")
    elif plan is None:
        typer.echo("null")
    else:
        _say(plan, as_json)


@rollout.command()
def advance(model: Model, as_json: AsJson = False) -> None:
    """Evaluate the evidence once, and apply the result."""
    from evermodel.cli.steps import waiting

    with waiting("evaluating the rollout"):
        look = _rollouts(model).advance()
    if as_json:
        _print(look.to_json())
    else:
        typer.echo(f"{model}: {look.move.replace('_', ' ')}: {look.why} ({look.state.replace('_', ' ')})")


@rollout.command()
def stop(
    model: Model,
    reason: Annotated[str, typer.Option(help="Reason, stored with the rollout.")],
    as_json: AsJson = False,
) -> None:
    """Stop the running rollout: the champion answers everything."""
    from evermodel.cli.steps import waiting

    with waiting("stopping the rollout"):
        plan = _rollouts(model).stop(by=os_user(), reason=reason)
    _say(plan, as_json)


def _rollouts(model: str) -> RolloutService:
    from evermodel.core.settings import Settings
    from evermodel.deployment.rollout.service import RolloutService
    from evermodel.registry.tracking import connect
    from evermodel.spec import load_spec

    settings = Settings.from_environment()
    return RolloutService(load_spec(model, settings), connect(settings.tracking_uri), settings)


def _say(plan: TrafficPlan, as_json: bool) -> None:
    if as_json:
        _print(plan.to_json())
        return
    shares = ", ".join(f"version {arm.version} {arm.share:.0%}" for arm in plan.arms)
    shadow = f", shadow version {plan.challenger} {plan.shadow:.0%}" if plan.shadow else ""
    typer.echo(
        f"{plan.model}: {plan.strategy} of version {plan.challenger}, step {plan.step}, "
        f"{plan.state.replace('_', ' ')}: {shares}{shadow} (since {plan.since})"
    )
    if plan.verdict:
        typer.echo(f"  {plan.verdict}")


def _print(data: object) -> None:
    from evermodel.cli.answer import print_json

    print_json(data)
