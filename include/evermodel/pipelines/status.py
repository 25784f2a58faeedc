"""Status: the champion of a model, the traffic plan, and which process serves which version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from evermodel.monitoring.drift.verdict import PromotionEffect
from evermodel.monitoring.summary_tags import effect_of
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.serving_heartbeats import ServingReport
from evermodel.registry.serving_locations import ServingLocations, read_serving_locations
from evermodel.registry.traffic_plan import TrafficPlan

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient
    from evermodel.registry.serving_reports import ServingReports


@dataclass(frozen=True)
class Place:
    """A serving process, or a host known only by the registry's tag.

    Parameters
    ----------
    pid
        None for a host.
    seen
        When it was heard of last.
    behind
        What it should have and has not, in words; empty if all is as it should be.
    """

    environment: str
    host: str
    pid: int | None
    version: str | None
    shares: Mapping[str, float]
    engine: str
    since: str
    seen: str
    behind: str


@dataclass(frozen=True)
class Status:
    """What is known of one model.

    Parameters
    ----------
    waiting
        The registered challenger that is not champion, if there is one.
    rollout
        The traffic plan in force.
    history
        Every promotion and rollback, oldest first.
    foreign_alias
        See `RegistryEntry.foreign_alias`.
    promotion
        The effect of the champion's promotion, as last evaluated; None if it was not.
    """

    model: str
    champion: str | None
    waiting: str | None
    rollout: TrafficPlan | None
    places: tuple[Place, ...]
    history: tuple[Promotion, ...]
    foreign_alias: str = ""
    promotion: PromotionEffect | None = None

    @property
    def behind(self) -> tuple[Place, ...]:
        """The processes behind the registry."""
        return tuple(place for place in self.places if place.behind)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {
            **asdict(self),
            "rollout": self.rollout and self.rollout.to_json(),
            "last": asdict(self.history[-1]) if self.history else None,
        }


def status_of(client: MlflowClient, model: str, reports: ServingReports) -> Status:
    """Read the registry, with one call, and the reports of serving processes."""
    found = ModelRegistry(client).read(model)
    champion, plan = found.champion, found.plan
    in_force = plan if plan is not None and plan.holds(champion) else None
    live = reports.live(model)
    places = [_process(report, champion, in_force) for report in live]
    known = {(report.environment, report.host) for report in live}
    places += [
        _host(one, champion)
        for one in read_serving_locations(found.tags)
        if (one.environment, one.host) not in known
    ]
    effect = effect_of(found.tags)
    return Status(
        model=model,
        champion=champion,
        waiting=found.challenger,
        rollout=in_force,
        places=tuple(places),
        history=found.promotions,
        foreign_alias=found.foreign_alias,
        promotion=effect if effect is not None and effect.version == champion else None,
    )


def _process(report: ServingReport, champion: str | None, plan: TrafficPlan | None) -> Place:
    return Place(
        environment=report.environment,
        host=report.host,
        pid=report.pid,
        version=report.version,
        shares=report.shares,
        engine=report.engine,
        since=report.since,
        seen=report.at,
        behind=_behind(report, champion, plan),
    )


def _behind(report: ServingReport, champion: str | None, plan: TrafficPlan | None) -> str:
    if report.version != champion:
        return f"the champion is {champion or 'none'}"
    if report.revision != (plan.revision if plan else 0):
        return f"the traffic plan is at revision {plan.revision}" if plan else "the rollout is over"
    return ""


def _host(one: ServingLocations, champion: str | None) -> Place:
    behind = "" if one.version == champion else f"the champion is {champion or 'none'}"
    return Place(one.environment, one.host, None, one.version, one.shares, "", one.since, one.at, behind)


def lines_of(status: Status) -> list[str]:
    """Return the status as lines of text, without the processes.

    The first one says who is champion.
    """
    head = f"version {status.champion} is champion" if status.champion else "no champion yet"
    lines = [f"{status.model}: {head}"]
    if status.rollout is not None:
        lines.append(f"  {_rollout(status.rollout)}")
    if status.promotion is not None:
        lines.append(f"  {status.promotion}")
    if status.waiting is not None and (status.rollout is None or status.rollout.challenger != status.waiting):
        lines.append(
            f"  version {status.waiting} is registered but not champion (approval, rollout or retrain pending)"
        )
    if status.foreign_alias:
        lines.append(f"  WARNING: {status.foreign_alias}; run evermodel audit verify {status.model}")
    if status.champion and not status.places:
        lines.append("  no serving process reports")
    return lines


def _rollout(plan: TrafficPlan) -> str:
    shares = ", ".join(f"version {arm.version} {arm.share:.3g}" for arm in plan.arms)
    shadow = f", shadow version {plan.challenger} {plan.shadow:.3g}" if plan.shadow else ""
    return f"rollout of version {plan.challenger} by {plan.strategy}, step {plan.step} since {plan.step_since}: {shares}{shadow}"


def history_lines(history: Sequence[Promotion]) -> list[str]:
    """Return the promotions as lines of text, newest first."""
    lines = []
    for promotion in reversed(history):
        before = f"after {promotion.previous}" if promotion.previous else "first"
        what = "rolled back to version" if promotion.kind == "rollback" else "version"
        lines.append(
            f"  {promotion.at}  {what} {promotion.version} ({before}) by {promotion.by}: {promotion.reason}"
        )
    return lines
