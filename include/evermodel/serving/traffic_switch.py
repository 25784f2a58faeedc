"""The switch of the routing table: the table in force, and how the next one is made and put in its place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.registry.serving_heartbeats import Reports, ServingReport
from evermodel.registry.serving_reports import ServingReports
from evermodel.registry.traffic_plan import TrafficPlan
from evermodel.serving.counters import ServingCounters
from evermodel.serving.desired_state import DesiredState
from evermodel.serving.metrics import Metrics
from evermodel.serving.routing_table import Traffic, arms_of
from evermodel.serving.versions import LoadedVersions, one_line

_LOG = logging.getLogger(__package__)


class TrafficSwitch:
    """Holds the routing table in force; requests read it, and one thread replaces it.

    Parameters
    ----------
    reports
        In which the serving processes say how many answers of a challenger they have given.
    """

    def __init__(self, model: str, metrics: Metrics, reports: ServingReports, instance: str) -> None:
        self.traffic: Traffic | None = None
        self.on_swap: Callable[[], None] = lambda: None
        self._model = model
        self._metrics = metrics
        self._reports = reports
        self._instance = instance

    @property
    def champion(self) -> ServedModel | None:
        """The champion in force."""
        return self.traffic.champion if self.traffic else None

    def table(self, desired: DesiredState, versions: LoadedVersions) -> Traffic:
        """Return the routing table of the desired state, as far as its versions are loaded."""
        loaded, plan = versions.loaded, desired.plan
        champion = loaded.get(desired.champion)
        if champion is None:  # the last champion continues without the plan, which was made for another one
            if self.champion is None:
                raise RuntimeError("no version is loaded")
            champion, plan = self.champion, None
        failures = {v: f.error for v, f in versions.failures.items() if v in desired.versions}
        same = self.champion is champion
        return Traffic(
            champion,
            arms=arms_of(plan, champion, loaded) if plan else (),
            previous=loaded.get(desired.previous) if desired.previous else None,
            shadow=loaded.get(plan.challenger) if plan and plan.shadow else None,
            plan=plan,
            missing=tuple((version, one_line(error)) for version, error in failures.items()),
            since=self.traffic.since if same and self.traffic else datetime.now(UTC),
            counters=self._counters(desired, champion.version),
        )

    def swap(self, traffic: Traffic) -> None:
        """Put a routing table in force."""
        self._limit(traffic)
        before, self.traffic = self.traffic, traffic
        was, now = before.champion.version if before else None, traffic.champion.version
        self._metrics.traffic.shared(self._model, traffic.shares)
        if before is None or before.champion is not traffic.champion:
            self._metrics.swapped(self._model, was, now)
            _LOG.info("event=swap model=%s from=%s to=%s", self._model, was or "none", now)
        if traffic.plan is not None or (before is not None and before.plan is not None):
            shares = ",".join(f"{version}:{share:.4g}" for version, share in traffic.shares.items())
            revision = traffic.plan.revision if traffic.plan else 0
            _LOG.info("event=traffic model=%s revision=%d shares=%s", self._model, revision, shares)
        self.on_swap()

    def update_limit(self) -> None:
        """Read again how many answers the challenger may still give in this process."""
        if self.traffic is not None:
            self._limit(self.traffic)

    def _counters(self, desired: DesiredState, champion: str) -> ServingCounters:
        """Return the counters in use while the step or the champion stays the same, else new ones."""
        plan = desired.plan if desired.champion == champion else None
        epoch = (plan.run_key, str(plan.step)) if plan else ("", champion)
        if self.traffic is not None and self.traffic.counters.epoch == epoch:
            return self.traffic.counters
        return ServingCounters(epoch, plan.revision if plan else 0)

    def _limit(self, traffic: Traffic) -> None:
        """Limit the challenger's answers here, so that all processes together stay within the step's limit."""
        if traffic.plan is None or traffic.plan.limit is None:
            return
        counters = traffic.counters
        try:
            found = self._reports.read(self._model)
            counters.cap = cap_of(traffic.plan, counters.revision, found, self._instance)
        except Exception as error:  # noqa: BLE001 - without the reports of the others the champion answers
            counters.cap = min(counters.cap, counters.taken)
            _LOG.warning('event=limit_unknown model=%s error="%s"', self._model, error)


def cap_of(plan: TrafficPlan, began: int, reports: Reports, instance: str) -> int:
    """Return this process's part of the limit.

    The running processes share what the stopped ones have left; one that starts late gets no more than what all others
    have left. The limit holds without a controller.

    Parameters
    ----------
    began
        Revision of the plan with which the step began.
    """
    if plan.limit is None:
        raise ValueError("the plan has no limit")

    def used(processes: Iterable[ServingReport]) -> int:
        counts = [
            report.counts[plan.challenger].requests
            for report in processes
            if report.rollout == plan.run_key
            and report.revision >= began
            and plan.challenger in report.counts
        ]
        return sum(counts)

    others = [report for report in reports.live if report.instance != instance]
    gone = used(reports.gone)
    part = (plan.limit - gone) // (len(others) + 1)
    return max(0, min(part, plan.limit - gone - used(others)))
