"""The sections `rollout` and `rollback`: how a new version gets traffic, and what rolls it back."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from evermodel.spec.parts import Share, Span, SpecSection

Strategy = Literal["direct", "blue_green", "shadow", "canary", "ab_test", "bandit"]
STRATEGIES: tuple[Strategy, ...] = ("direct", "blue_green", "shadow", "canary", "ab_test", "bandit")


class GuardSpec(SpecSection):
    """Limits for a version next to the champion; unset ones are not monitored."""

    max_error_rate: Share | None = Field(
        0.02, description="Largest share of its answers that are a 5xx or a fallback."
    )
    max_latency_ratio: float | None = Field(
        2.0, gt=1, description="Largest p99, in multiples of the champion's."
    )
    min_requests: int = Field(200, ge=1, description="Minimum requests of the version in a step.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence of the sequential tests.")
    max_exposed: int = Field(
        10_000,
        ge=1,
        description="Most answers of a version before it passes a step; then it is rolled back.",
    )


class BlueGreenSpec(SpecSection):
    """Everything switches at once after a smoke test; the old version stays warm."""

    warm: Span = Field(
        timedelta(hours=1),
        description="How long after the switch the old version stays in memory and the new one is monitored.",
    )


class ShadowSpec(SpecSection):
    """The new version answers too, but callers never get its answers."""

    duration: Span = timedelta(days=1)
    share: Share = Field(1.0, description="Share of the requests that it also answers.")
    min_agreement: Share = Field(0.9, description="Smallest share of equal decisions.")
    max_mean_difference: float | None = Field(
        None, gt=0, description="Largest mean absolute difference of the scores."
    )
    max_psi: float | None = Field(
        0.25,
        gt=0,
        description="Largest population stability index of its scores (multiclass: classes) against the champion's.",
    )


class CanarySpec(SpecSection):
    """The new version gets growing shares of the requests."""

    steps: tuple[Share, ...] = Field(
        (0.05, 0.25, 0.5), min_length=1, description="Shares, each larger than the one before."
    )
    bake: Span = Field(timedelta(hours=1), description="Shortest time of a step.")
    longest: Span = Field(timedelta(days=2), description="A step that does not pass by then is rolled back.")

    @model_validator(mode="after")
    def _rising(self) -> CanarySpec:
        if any(not 0 < share < 1 for share in self.steps) or list(self.steps) != sorted(set(self.steps)):
            raise ValueError("`steps` are shares between 0 and 1, each larger than the one before")
        return self


class AbTestSpec(SpecSection):
    """A fixed split until the labels decide, by a sequential test."""

    share: Share = Field(0.5, gt=0, lt=1, description="Share of the new version.")
    error_rate: float = Field(
        0.05, gt=0, lt=0.5, description="Chance that two equal versions are told apart."
    )
    margin: float = Field(0.0, ge=0, description="Required improvement of the mean loss.")
    longest: Span = Field(timedelta(days=28), description="Without a result by then the champion stays.")


class BanditSpec(SpecSection):
    """Shares follow the rewards (Thompson sampling); each version keeps a floor."""

    floor: float = Field(
        0.05, gt=0, lt=0.5, description="Smallest share, so that both versions keep being measured."
    )
    decided: float = Field(0.95, gt=0.5, lt=1, description="Probability of being the best that ends it.")
    longest: Span = timedelta(days=28)


class RolloutSpec(SpecSection):
    """How a new version gets traffic."""

    strategy: Strategy = Field("direct", description="How an approved version is deployed.")
    look: Span = Field(timedelta(minutes=5), description="Time between two evaluations of the evidence.")
    guard: GuardSpec = GuardSpec()
    blue_green: BlueGreenSpec = BlueGreenSpec()
    shadow: ShadowSpec = ShadowSpec()
    canary: CanarySpec = CanarySpec()
    ab_test: AbTestSpec = AbTestSpec()
    bandit: BanditSpec = BanditSpec()


class RollbackSpec(SpecSection):
    """Limits that trigger an automatic rollback; unset ones do not."""

    error_rate: Share | None = Field(None, description="Share of requests answered with a 5xx or a fallback.")
    p99_ms: float | None = Field(None, gt=0, description="Response time, 99th percentile.")
    quality: bool = Field(
        False,
        description="Worse than the replaced version by more than the margin, on the same rows with matured labels.",
    )
    within: Span = Field(
        timedelta(days=14),
        description="Period after the promotion in which a rollback is possible.",
    )
    min_requests: int = Field(500, ge=1, description="Minimum requests for a verdict.")

    @property
    def watches_serving(self) -> bool:
        """Tell whether the reports of serving processes are evaluated."""
        return self.error_rate is not None or self.p99_ms is not None


def begins(spec: RolloutSpec) -> str:
    """Return the first step of a rollout as text.

    >>> begins(RolloutSpec(strategy="canary"))
    'canary, 5%'
    """
    shares = {"canary": spec.canary.steps[0], "ab_test": spec.ab_test.share, "bandit": 0.5}
    name = {"blue_green": "blue/green", "ab_test": "A/B test"}.get(spec.strategy, spec.strategy)
    return f"{name}, {shares[spec.strategy]:.0%}" if spec.strategy in shares else name
