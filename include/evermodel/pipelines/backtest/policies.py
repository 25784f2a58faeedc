"""The policies that a backtest compares: when each of them retrains."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from evermodel.core.errors import SpecError
from evermodel.spec import ModelSpec
from evermodel.spec.drift import DriftKind
from evermodel.spec.window import whole_day

Asks = Literal["nobody", "drift", "decay", "as declared"]
_DEFAULT_DRIFT: tuple[DriftKind, ...] = ("feature", "prediction", "concept")


@dataclass(frozen=True)
class Policy:
    """When to retrain.

    Parameters
    ----------
    every
        Days between two retrains; 0 for none of that kind.
    by_schedule
        Retrain when `schedule.retrain` says so.
    asks
        Whose problems request a retrain; cool-down, budget and the rest of the section `retrain` apply.
    gated
        Let the gate decide what ships; else everything does that could be trained.
    """

    name: str
    words: str
    every: int = 0
    by_schedule: bool = False
    asks: Asks = "nobody"
    gated: bool = True

    def due(self, spec: ModelSpec, start: datetime, before: datetime, now: datetime) -> bool:
        """Tell whether the calendar schedules a retrain as of a day.

        Parameters
        ----------
        before
            The day of the last decision.
        """
        if self.every:
            return (now - start) // timedelta(days=self.every) > (before - start) // timedelta(
                days=self.every
            )
        return self.by_schedule and _ticked(spec.schedule.retrain, before, now)

    def asking(self, spec: ModelSpec) -> ModelSpec:
        """Return the spec with this policy's sections `respond` and `retrain`."""
        if self.asks in ("nobody", "as declared"):
            return spec
        kinds = get_args(DriftKind)
        wanted = spec.respond.model_dump()
        declared = [kind for kind in kinds if wanted[kind] == "auto"] or list(_DEFAULT_DRIFT)
        drift = {kind: "auto" if self.asks == "drift" and kind in declared else "alert" for kind in kinds}
        performance = "auto" if self.asks == "decay" else "alert"
        respond = spec.respond.model_copy(update={**drift, "performance": performance})
        when = "critical" if spec.retrain.when == "never" else spec.retrain.when
        return spec.model_copy(
            update={"respond": respond, "retrain": spec.retrain.model_copy(update={"when": when})}
        )


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("never", "the first champion stays"),
        Policy("weekly", "every 7 days", every=7),
        Policy("monthly", "every 28 days", every=28),
        Policy("on_drift", "when the drift verdict requests it", asks="drift"),
        Policy("on_decay", "when performance falls below its baseline", asks="decay"),
        Policy("as_declared", "as declared in the spec", by_schedule=True, asks="as declared"),
        Policy("weekly_ungated", "every 7 days, without the gate", every=7, gated=False),
    )
}
DEFAULT_POLICIES = tuple(name for name in POLICIES if name != "weekly_ungated")


def policies_named(names: list[str] | tuple[str, ...]) -> list[Policy]:
    """Return policies by name, each once, in the order of the table; raises `SpecError` for an unknown one."""
    unknown = sorted(set(names) - set(POLICIES))
    if unknown:
        raise SpecError(
            f"unknown policy {', '.join(unknown)}", f"use: {', '.join(POLICIES)} (comma separated)"
        )
    return [policy for name, policy in POLICIES.items() if name in (names or DEFAULT_POLICIES)]


def _ticked(cron: str | None, before: datetime, now: datetime) -> bool:
    """Tell whether a schedule has a tick on a day after one day, up to and with another."""
    if cron is None:
        return False
    from croniter import croniter

    day = timedelta(days=1)
    tick: datetime = croniter(cron, before + day - timedelta(seconds=1)).get_next(datetime)
    return before < whole_day(tick) <= now
