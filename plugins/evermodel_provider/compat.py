"""Names of Airflow that ``airflow.providers.common.compat.sdk`` lacks, for every supported version.

Each block says which Airflow is the last to need it; with that version it goes.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import TaskGroup as _TaskGroup

__all__ = ["AssetOrTimeSchedule", "BaseTimetable", "CronTriggerTimetable", "TaskGroup", "gauge", "incr"]

try:
    from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable
    from airflow.sdk.bases.timetable import BaseTimetable
except ImportError:  # until Airflow 3.1
    from airflow.timetables.assets import AssetOrTimeSchedule
    from airflow.timetables.base import Timetable as BaseTimetable
    from airflow.timetables.trigger import CronTriggerTimetable

try:
    from airflow.sdk.observability.stats import gauge, incr
except ImportError:  # until Airflow 3.2
    from airflow.providers.common.compat.sdk import Stats

    def gauge(stat: str, value: float) -> None:
        """Set a gauge."""
        Stats.gauge(stat, value)

    def incr(stat: str, count: int = 1) -> None:
        """Count up."""
        Stats.incr(stat, count)


class TaskGroup(_TaskGroup):
    """A group whose tasks are found by ``group["label"]``, until Airflow 3.2, which cannot."""

    def __getitem__(self, label: str) -> Any:
        """Return the task or group of a label, which is its id without the group's."""
        return self.get_child_by_label(label)
