"""The commands `evermodel rollout start|status|advance|stop`: a rollout without Airflow."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, Model, Reason, Version, read_spec
from evermodel.core.environment import os_user
from evermodel.core.errors import SpecError
from evermodel.registry.tracking import connect

if TYPE_CHECKING:
    from evermodel.deployment.rollout.service import RolloutService
    from evermodel.registry.traffic_plan import TrafficPlan

rollout = typer.Typer(help="Start, advance, show and stop rollouts.", no_args_is_help=True)


@rollout.command()
def start(
    model: Model,
    version: Version,
    reason: Reason,
    strategy: Annotated[str | None, typer.Option(help="Default: the spec's.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: a repetition starts nothing.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start the rollout of a version; the DAG rollout_<model>, or repeated `advance`, moves it."""
    from evermodel.spec.rollout import STRATEGIES

    chosen = next((known for known in STRATEGIES if known == strategy), None)
    if strategy is not None and chosen is None:
        raise SpecError(f"unknown strategy {strategy}", f"use: {', '.join(STRATEGIES)}")
    with output.waiting(f"starting version {version}"):
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
    from evermodel.registry.registry import ModelRegistry

    with output.waiting("reading MLflow"):
        plan = ModelRegistry(_rollouts(model).client).read(model).plan
    if plan is None:
        output.answer(as_json, None, f"{model}: no rollout yet")
    else:
        _say(plan, as_json)


@rollout.command()
def advance(model: Model, as_json: AsJson = False) -> None:
    """Evaluate the evidence once, and apply the result."""
    with output.waiting("evaluating the rollout"):
        evaluated = _rollouts(model).advance()
    move, state = evaluated.move.replace("_", " "), evaluated.state.replace("_", " ")
    output.answer(as_json, evaluated.to_json(), f"{model}: {move}: {evaluated.why} ({state})")


@rollout.command()
def stop(
    model: Model,
    reason: Annotated[str, typer.Option(help="Reason, stored with the rollout.")],
    as_json: AsJson = False,
) -> None:
    """Stop the running rollout: the champion answers everything."""
    with output.waiting("stopping the rollout"):
        plan = _rollouts(model).stop(by=os_user(), reason=reason)
    _say(plan, as_json)


def _rollouts(model: str) -> RolloutService:
    from evermodel.deployment.rollout.service import RolloutService

    spec, settings = read_spec(model)
    return RolloutService(spec, connect(settings.tracking_uri), settings)


def _say(plan: TrafficPlan, as_json: bool) -> None:
    shares = ", ".join(f"version {arm.version} {arm.share:.0%}" for arm in plan.arms)
    shadow = f", shadow version {plan.challenger} {plan.shadow:.0%}" if plan.shadow else ""
    said = (
        f"{plan.model}: {plan.strategy} of version {plan.challenger}, step {plan.step}, "
        f"{plan.state.replace('_', ' ')}: {shares}{shadow} (since {plan.since})"
    )
    output.answer(as_json, plan.to_json(), f"{said}\n  {plan.verdict}" if plan.verdict else said)
