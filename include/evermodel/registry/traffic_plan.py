"""The traffic plan: the share of the requests that each version answers, and the shadow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from evermodel.core.formats import unstamped
from evermodel.spec.rollout import Strategy

PlanState = Literal["running", "promoted", "rolled_back", "stopped"]


@dataclass(frozen=True)
class Arm:
    """A version and the share of the requests that it answers."""

    version: str
    share: float


@dataclass(frozen=True)
class TrafficPlan:
    """The share of the requests for each version, from a moment on.

    A plan holds only while it is ``running`` and its ``champion`` is the one of the registry: a promotion or a rollback
    ends it at once, also before its state changes.

    Parameters
    ----------
    champion
        The champion when the plan was made.
    arms
        The versions that answer; their shares add up to 1.
    shadow
        Share of the requests that the challenger answers as the shadow.
    warm
        Further versions that are loaded, for an immediate switch.
    salt
        Part of the hash that assigns a caller to a version; the same for the whole rollout.
    revision
        Increases by one with each change.
    step
        The strategy's own step, from 0 (for a canary the place in its list).
    limit
        Most answers of the challenger in this step, over all serving processes; None: no limit.
    since, step_since
        When the rollout and its step began (ISO 8601, UTC).
    """

    model: str
    strategy: Strategy
    champion: str
    challenger: str
    arms: tuple[Arm, ...]
    salt: str
    since: str
    step_since: str
    by: str
    reason: str
    run_key: str
    shadow: float = 0.0
    warm: tuple[str, ...] = ()
    revision: int = 1
    step: int = 0
    limit: int | None = None
    state: PlanState = "running"
    verdict: str = ""

    def __post_init__(self) -> None:
        """Check that the shares are complete."""
        if not self.arms or not math.isclose(sum(arm.share for arm in self.arms), 1.0, abs_tol=1e-9):
            raise ValueError(f"the shares of a traffic plan do not add up to 1: {self.arms}")
        if any(not 0 <= arm.share <= 1 for arm in self.arms) or not 0 <= self.shadow <= 1:
            raise ValueError(f"a share is not between 0 and 1: {self.arms}, shadow {self.shadow}")
        if self.strategy not in get_args(Strategy) or self.state not in get_args(PlanState):
            raise ValueError(f"unknown strategy or state: {self.strategy}, {self.state}")

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that a serving process loads, the champion first."""
        named = [self.champion, *(arm.version for arm in self.arms), *self.warm]
        named += [self.challenger] if self.shadow else []
        return tuple(dict.fromkeys(named))

    def share_of(self, version: str) -> float:
        """Return the share of the requests that a version answers."""
        return sum(arm.share for arm in self.arms if arm.version == version)

    def holds(self, champion: str | None) -> bool:
        """Tell whether the plan is in force while a version is champion."""
        return self.state == "running" and self.champion == champion

    def changed(self, **fields: Any) -> TrafficPlan:
        """Return the next revision of the plan."""
        return replace(self, revision=self.revision + 1, **fields)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TrafficPlan:
        """Read the result of `to_json`."""
        known = unstamped(data, f"traffic plan of model {data['model']}")
        arms = tuple(Arm(**arm) for arm in data["arms"])
        return cls(**{**known, "arms": arms, "warm": tuple(data.get("warm", ()))})


def everything_to(champion: str) -> tuple[Arm, ...]:
    """Return the arms that give a champion every request."""
    return (Arm(champion, 1.0),)


def split(champion: str, challenger: str, share: float) -> tuple[Arm, ...]:
    """Return the arms that give a challenger its share and the champion the rest.

    >>> split("1", "2", 0.05)
    (Arm(version='1', share=0.95), Arm(version='2', share=0.05))
    """
    return (Arm(champion, 1.0 - share), Arm(challenger, share))


def stamp(now: datetime) -> str:
    """Return a time in the form that plans store."""
    return now.astimezone(UTC).isoformat(timespec="milliseconds")


def since_step(plan: TrafficPlan, now: datetime) -> timedelta:
    """Return how long the step has lasted."""
    return now - datetime.fromisoformat(plan.step_since)


def since_start(plan: TrafficPlan, now: datetime) -> timedelta:
    """Return how long the rollout has lasted."""
    return now - datetime.fromisoformat(plan.since)
