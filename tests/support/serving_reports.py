"""Reports of serving processes in a database of a test's folder, and the passing of time in it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import update

from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import serving_reports
from evermodel.registry.serving_reports import ServingReports


def reports_in(folder: Path) -> ServingReports:
    """Return the reports of an installation whose database and lake are in a folder."""
    return ServingReports(f"sqlite:///{folder}/reports.db", folder / "serving")


def aged(reports: ServingReports, instance: str, seconds: float) -> None:
    """Let the last report of a process be older than it is."""
    mine = serving_reports.c.instance == instance
    with open_database(reports.address).writing() as connection:
        found = connection.execute(
            update(serving_reports).where(mine).values(seen=serving_reports.c.seen - seconds)
        )
        assert found.rowcount
