"""How many answers of a challenger one process may give, so that all together stay within a step's limit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from evermodel.deployment.rollout.plan import TrafficPlan
from evermodel.registry.serving_heartbeats import ServingReport, read_reports


def cap_of(plan: TrafficPlan, began: int, lake: Path, instance: str) -> int:
    """Return this process's part of the limit.

    The processes that are alive share what those that are gone have left; one that comes late gets no more than
    what all the others have left. It holds without any controller that looks.

    Parameters
    ----------
    began
        Revision of the plan from which the step counts.
    instance
        Name of this process in the reports.
    """
    if plan.limit is None:
        raise ValueError("the plan has no limit")
    reports = read_reports(lake, plan.model, datetime.now(UTC))

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
