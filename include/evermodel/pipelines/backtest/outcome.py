"""The outcome of a policy, serializable as JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace

from evermodel.monitoring.drift.verdict import PromotionEffect


@dataclass(frozen=True)
class Week:
    """The metric of one week.

    Parameters
    ----------
    champions
        Versions that answered, in their order.
    rows
        Rows whose label is known.
    value, low, high
        The metric with its 95 % interval over the week's rows; None when it cannot be told.
    """

    start: str
    champions: tuple[str, ...]
    rows: int
    value: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class RetrainOfPolicy:
    """One retrain that was tried.

    Parameters
    ----------
    as_of
        Day of the retrain, which is the version's name.
    verdict
        The gate's result, or why there was no challenger.
    replaced
        The champion of before; empty if it stays.
    rows, seconds
        What it was made from, and seconds of a processor that fitting took (measured once, where it was done).
    """

    as_of: str
    reason: str
    shipped: bool
    verdict: str
    candidate: str
    replaced: str
    rows: int
    seconds: float


@dataclass(frozen=True)
class Alert:
    """One message about an incident."""

    at: str
    kind: str
    action: str
    severity: str


@dataclass(frozen=True)
class Exchange:
    """A week under a new champion, and the replaced one's metric on the same rows.

    Parameters
    ----------
    gain, low, high
        How much better the new one was, with its 95 % interval over the rows; negative where retraining hurt.
    """

    start: str
    champion: str
    replaced: str
    rows: int
    gain: float
    low: float
    high: float

    @property
    def hurt(self) -> bool:
        """Whether the replaced champion would have been better."""
        return self.gain < 0

    @property
    def surely(self) -> bool:
        """Whether it is significant by the rows of the week."""
        return self.high < 0


@dataclass(frozen=True)
class PolicyOutcome:
    """Everything that happened under one policy."""

    policy: str
    words: str
    first_verdict: str
    weeks: tuple[Week, ...]
    retrains: tuple[RetrainOfPolicy, ...]
    alerts: tuple[Alert, ...]
    exchanges: tuple[Exchange, ...]
    promotions: tuple[PromotionEffect, ...] = ()

    def until(self, end: str) -> PolicyOutcome:
        """Return what happened before a day."""
        return replace(
            self,
            weeks=tuple(one for one in self.weeks if one.start[:10] < end),
            retrains=tuple(one for one in self.retrains if one.as_of[:10] < end),
            alerts=tuple(one for one in self.alerts if one.at[:10] <= end),
            exchanges=tuple(one for one in self.exchanges if one.start[:10] < end),
            promotions=tuple(one for one in self.promotions if one.since[:10] < end),
        )

    @property
    def shipped(self) -> int:
        """Retrains whose model became champion."""
        return sum(one.shipped for one in self.retrains)

    @property
    def seconds(self) -> float:
        """Seconds of a processor for all its fits, the first champion's left out."""
        return sum(one.seconds for one in self.retrains)

    @property
    def opened(self) -> int:
        """Incidents that opened."""
        return sum(one.action == "open" for one in self.alerts)

    @property
    def reminded(self) -> int:
        """Reminders of incidents that went on."""
        return sum(one.action == "remind" for one in self.alerts)

    @property
    def compared(self) -> tuple[PromotionEffect, ...]:
        """Promotions that could be compared with the version that they replaced."""
        return tuple(one for one in self.promotions if one.gain is not None)

    @property
    def costly(self) -> tuple[PromotionEffect, ...]:
        """Those of them that lost more than the margin on the mean day, whether or not that is proved."""
        return tuple(one for one in self.compared if one.gain is not None and one.gain < -one.margin)

    @property
    def hurt(self) -> tuple[Exchange, ...]:
        """Weeks in which the champion that was replaced would have been better."""
        return tuple(one for one in self.exchanges if one.hurt)
