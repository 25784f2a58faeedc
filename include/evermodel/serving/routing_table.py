"""The routing table: the champion, the versions with a share of the requests, and the shadow."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b

from starlette.types import Scope

from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.registry.serving_heartbeats import InMemory
from evermodel.registry.traffic_plan import TrafficPlan
from evermodel.serving.counters import ServingCounters

SUBJECT_HEADER = "X-Subject-ID"
_HEADER = SUBJECT_HEADER.lower().encode()
_LONGEST_SUBJECT = 200


@dataclass(frozen=True)
class ServedArm:
    """A version, and the end of its part of [0, 1)."""

    served: ServedModel
    until: float


@dataclass(frozen=True)
class Traffic:
    """The routing table of one model; replaced as a whole, never changed.

    Parameters
    ----------
    champion
        Answers the requests of no other version.
    arms
        The versions in the order of their parts, the champion first; empty if the champion answers alone.
    previous
        The previous champion, if the spec's fallback needs it.
    shadow
        The version whose answers are compared and not returned.
    missing
        Versions of the plan that could not be loaded, each with the error.
    since
        When the champion was put in force in this process.
    counters
        Counts of the step or champion.
    """

    champion: ServedModel
    arms: tuple[ServedArm, ...] = ()
    previous: ServedModel | None = None
    shadow: ServedModel | None = None
    plan: TrafficPlan | None = None
    missing: tuple[tuple[str, str], ...] = ()
    since: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)
    counters: ServingCounters = field(default_factory=lambda: ServingCounters(("", ""), 0), compare=False)

    @cached_property
    def _key(self) -> bytes:
        return key_of(self.plan.salt if self.plan else "")

    @cached_property
    def _shadow_key(self) -> bytes:
        return key_of(f"shadow {self.plan.salt if self.plan else ''}")

    def route(self, scope: Scope) -> ServedModel:
        """Return the version that answers a request: the same for the same caller while the shares stay.

        A challenger whose share grows keeps its callers. When it has used up the step's limit, the champion answers
        its requests.
        """
        if not self.arms:
            return self.champion
        spot = place(hashed(unit_of(scope), self._key))
        served = next((arm.served for arm in self.arms if spot < arm.until), self.arms[-1].served)
        return self.champion if self._limited(served) and not self.counters.take() else served

    def subject_hash(self, scope: Scope) -> str | None:
        """Return what the split of a request goes by, for the log; None while the champion answers alone."""
        return hashed(unit_of(scope), self._key).hex() if self.arms else None

    def give_back(self, routed: ServedModel) -> None:
        """Take a request out of the step's limit, because it got no answer."""
        if self._limited(routed):
            self.counters.give_back()

    def _limited(self, served: ServedModel) -> bool:
        return self.plan is not None and self.plan.limit is not None and served is not self.champion

    def shadows(self, scope: Scope) -> bool:
        """Tell whether the shadow answers a request too."""
        if self.shadow is None or self.plan is None:
            return False
        return self.plan.shadow >= 1 or place(hashed(unit_of(scope), self._shadow_key)) < self.plan.shadow

    def stand_in(self, served: ServedModel) -> ServedModel | None:
        """Return the version that answers when another one fails: the champion, or for it the previous one."""
        return self.previous if served is self.champion else self.champion

    @property
    def shares(self) -> dict[str, float]:
        """Share of the requests by version, as in force in this process."""
        if not self.arms:
            return {self.champion.version: 1.0}
        shares: dict[str, float] = {}
        start = 0.0
        for arm in self.arms:
            shares[arm.served.version] = shares.get(arm.served.version, 0.0) + arm.until - start
            start = arm.until
        return {version: round(share, 9) for version, share in shares.items()}

    def in_memory(self) -> InMemory:
        """Return the versions and counts of this process."""
        return InMemory(
            version=self.champion.version,
            since=self.since.isoformat(timespec="milliseconds"),
            engine=self.champion.engine,
            shares=self.shares,
            revision=self.plan.revision if self.plan else 0,
            rollout=self.plan.run_key if self.plan else "",
            counts=self.counters.counts(),
        )


def arms_of(
    plan: TrafficPlan, champion: ServedModel, loaded: dict[str, ServedModel]
) -> tuple[ServedArm, ...]:
    """Return the arms of a plan, the champion first, so that the others grow and shrink at their own edge.

    The part of a version that is not loaded goes to the champion.
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
    arms[-1] = ServedArm(arms[-1].served, 1.0)  # the sum of the shares may differ from 1 by rounding
    return tuple(arms)


def unit_of(scope: Scope) -> bytes:
    """Return the unit that stays with one version: the header ``X-Subject-ID``, or the request's id without one.

    A subject of more than 200 bytes is ignored.
    """
    for name, value in scope["headers"]:
        if name == _HEADER and 0 < len(value) <= _LONGEST_SUBJECT:
            return bytes(value)
    request_id: str = scope["state"]["request_id"]
    return request_id.encode()


def key_of(salt: str) -> bytes:
    """Return the key with which the places of a rollout differ from those of others."""
    return blake2b(salt.encode(), digest_size=32).digest()


def hashed(unit: bytes, key: bytes) -> bytes:
    """Return the keyed hash of a unit: it does not tell the unit, and rollouts cannot be joined by it.

    >>> hashed(b"caller-7", key_of("rollout 1")).hex()
    '10a1634b24eab45f'
    """
    return blake2b(unit, digest_size=8, key=key).digest()


def place(digest: bytes) -> float:
    """Return the place of a unit's hash, uniform over [0, 1).

    >>> round(place(hashed(b"caller-7", key_of("rollout 1"))), 3)
    0.065
    """
    return (int.from_bytes(digest, "big") >> 11) * 2.0**-53  # 53 bits, as many as a float holds
