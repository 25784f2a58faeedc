"""Names of Airflow that ``airflow.providers.common.compat.sdk`` lacks, for every supported version.

Each block says which Airflow is the last to need it; with that version it goes.
"""

from __future__ import annotations

__all__ = ["AssetOrTimeSchedule", "BaseTimetable", "CronTriggerTimetable", "gauge", "incr"]

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
