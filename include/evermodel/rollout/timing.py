"""How long a rollout and its step have lasted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from evermodel.rollout.plan import TrafficPlan


def stamp(now: datetime) -> str:
    """Return a moment as plans keep it."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds")


def since_step(plan: TrafficPlan, now: datetime) -> timedelta:
    """Return how long the step has lasted."""
    return now - datetime.fromisoformat(plan.step_since)


def since_start(plan: TrafficPlan, now: datetime) -> timedelta:
    """Return how long the rollout has lasted."""
    return now - datetime.fromisoformat(plan.since)
