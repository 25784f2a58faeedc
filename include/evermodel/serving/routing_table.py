"""Who answers now: the champion, the versions that have a share beside it, and one that answers unheard."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from starlette.types import Scope

from evermodel.deployment.rollout.plan import TrafficPlan
from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.registry.serving_heartbeats import InMemory
from evermodel.serving.counters import ServingCounters
from evermodel.serving.router import key_of, place, unit_of


@dataclass(frozen=True)
class ServedArm:
    """A version beside the champion, and where its part of [0, 1) ends."""

    served: ServedModel
    until: float


@dataclass(frozen=True)
class Traffic:
    """Everything a request needs to know about who answers it; replaced as a whole, never changed.

    Parameters
    ----------
    champion
        Answers what nobody else does.
    arms
        In the order of their places, the champion first; empty if it answers alone.
    previous
        The champion of before, if the spec wants it as a fallback.
    shadow
        The version that answers without being heard.
    plan
        The traffic plan in force.
    missing
        Versions that the plan names and that could not be loaded, each with the reason.
    since
        When this process began to answer with the champion.
    """

    champion: ServedModel
    arms: tuple[ServedArm, ...] = ()
    previous: ServedModel | None = None
    shadow: ServedModel | None = None
    plan: TrafficPlan | None = None
    missing: tuple[tuple[str, str], ...] = ()
    since: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)
    tally: ServingCounters = field(default_factory=lambda: ServingCounters(("", ""), 0), compare=False)

    @cached_property
    def _key(self) -> bytes:
        return key_of(self.plan.salt if self.plan else "")

    @cached_property
    def _shadow_key(self) -> bytes:
        return key_of(f"shadow {self.plan.salt if self.plan else ''}")

    def route(self, scope: Scope) -> ServedModel:
        """Return the version that answers a request: the same for the same caller while the shares stay.

        A challenger whose share grows keeps those whom it had. One that has used up the step's limit leaves its
        requests to the champion.
        """
        if not self.arms:
            return self.champion
        spot = place(unit_of(scope), self._key)
        served = next((arm.served for arm in self.arms if spot < arm.until), self.arms[-1].served)
        return self.champion if self._limited(served) and not self.tally.take() else served

    def give_back(self, routed: ServedModel) -> None:
        """Leave a request out of the step's limit: it was sent to a version and got no answer."""
        if self._limited(routed):
            self.tally.give_back()

    def _limited(self, served: ServedModel) -> bool:
        return self.plan is not None and self.plan.limit is not None and served is not self.champion

    def shadows(self, scope: Scope) -> bool:
        """Tell whether the shadow answers a request, too."""
        if self.shadow is None or self.plan is None:
            return False
        return self.plan.shadow >= 1 or place(unit_of(scope), self._shadow_key) < self.plan.shadow

    def stand_in(self, served: ServedModel) -> ServedModel | None:
        """Return the version that answers when another one cannot: the champion, and for it the one before."""
        return self.previous if served is self.champion else self.champion

    @property
    def shares(self) -> dict[str, float]:
        """Share of the requests by version, as they are answered here."""
        if not self.arms:
            return {self.champion.version: 1.0}
        shares: dict[str, float] = {}
        start = 0.0
        for arm in self.arms:
            shares[arm.served.version] = shares.get(arm.served.version, 0.0) + arm.until - start
            start = arm.until
        return {version: round(share, 9) for version, share in shares.items()}

    def in_memory(self) -> InMemory:
        """Return what this process reports."""
        return InMemory(
            version=self.champion.version,
            since=self.since.isoformat(timespec="milliseconds"),
            engine=self.champion.engine,
            shares=self.shares,
            revision=self.plan.revision if self.plan else 0,
            rollout=self.plan.run_key if self.plan else "",
            counts=self.tally.counts(),
        )


def arms_of(
    plan: TrafficPlan, champion: ServedModel, loaded: dict[str, ServedModel]
) -> tuple[ServedArm, ...]:
    """Lay a plan's arms side by side, the champion first so that the others grow and shrink at their own edge.

    A version that is not in memory leaves its part to the champion.
    """
    ordered = sorted(plan.arms, key=lambda arm: arm.version != plan.champion)
    shares = [(loaded.get(arm.version, champion), arm.share) for arm in ordered if arm.share > 0]
    if all(served is champion for served, _ in shares):
        return ()
    arms: list[ServedArm] = []
    end = 0.0
    for served, share in shares:
        end += share
        arms.append(ServedArm(served, end))
    arms[-1] = ServedArm(arms[-1].served, 1.0)  # the shares add up to 1 only nearly
    return tuple(arms)
