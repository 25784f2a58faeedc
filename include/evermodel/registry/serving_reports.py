"""The reports of serving processes in the database: the newest of each process, and the versions that have ever answered."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, not_, select, update
from sqlalchemy.exc import IntegrityError

from evermodel.core.database.clock import now
from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import served_versions, serving_reports
from evermodel.core.formats import loads, stamped
from evermodel.core.settings import Settings
from evermodel.registry.serving_folder import reports_in_files, served_in_files
from evermodel.registry.serving_heartbeats import Reports, ServingReport, answering

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Row

_LOG = logging.getLogger(__name__)
FRESH = timedelta(seconds=30)  # processes write every few seconds
_KEPT = timedelta(days=30)  # longer than any rollout
_KEPT_EMPTY = timedelta(hours=1)


@dataclass(frozen=True)
class ServingReports:
    """The reports of an installation's serving processes, on any machine.

    A process is alive if its newest report came within the last 30 seconds by the database's clock. Reports stay for 30 days
    after the process, because what it counted still counts; for an hour if it answered nothing.

    Parameters
    ----------
    address
        URL of the database.
    folder
        Where earlier releases kept the reports as files; what is found there is taken over.
    """

    address: str
    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> ServingReports:
        """Return the reports of an installation."""
        return cls(settings.database_url, settings.state / "serving")

    def write(self, report: ServingReport) -> None:
        """Replace the last report of a process, unless a newer one is there, and record which versions have answered.

        Raises
        ------
        DatabaseUnavailableError
            The database does not answer.
        """
        with open_database(self.address).writing() as connection:
            put(connection, report)
            note_served(connection, report.model, dict.fromkeys(answering(report), _seconds(report.at)))

    def live(self, model: str) -> tuple[ServingReport, ...]:
        """Return the reports of a model's running processes, ordered by host and pid; unreadable ones are omitted.

        Raises
        ------
        DatabaseUnavailableError
            The database does not answer.
        """
        return self._read(model, serving_reports.c.seen > now() - FRESH.total_seconds()).live

    def read(self, model: str) -> Reports:
        """Return the reports of a model's running and ended processes; see `live`."""
        return self._read(model)

    def everywhere(self, model: str) -> list[ServingReport]:
        """Return the reports of all models' processes that have answered, ended ones included.

        Parameters
        ----------
        model
            The one whose reports of earlier releases are taken over.
        """
        mine = self._read(model)
        table = serving_reports.c
        query = select(table.instance, table.content, (now() - table.seen).label("age"))
        with open_database(self.address).reading() as connection:
            rows = connection.execute(query.where(table.model != model, table.answered)).all()
        others = _sorted(found for found in map(_report, rows) if found is not None)
        return [*mine.live, *mine.gone, *others.live, *others.gone]

    def served(self, model: str) -> dict[str, datetime]:
        """Return the versions that ever answered a request, with the time of the first report.

        Versions from before these records existed are missing.
        """
        database = open_database(self.address)
        for version, at in served_in_files(self.folder, model):
            with database.writing() as connection:
                note_served(connection, model, {version: at})
        query = select(served_versions.c.version, served_versions.c.at)
        with database.reading() as connection:
            found = connection.execute(query.where(served_versions.c.model == model)).all()
        return {version: datetime.fromtimestamp(at, UTC) for version, at in found}

    def running(self) -> int:
        """Return the number of reports of running processes, about any model."""
        fresh = serving_reports.c.seen > now() - FRESH.total_seconds()
        with open_database(self.address).reading() as connection:
            return connection.scalar(select(func.count()).select_from(serving_reports).where(fresh)) or 0

    def clear(self) -> int:
        """Delete the reports of all models that nobody needs any more, and return their number."""
        table = serving_reports.c
        empty = not_(table.answered) & (table.seen < now() - _KEPT_EMPTY.total_seconds())
        old = table.seen < now() - _KEPT.total_seconds()
        with open_database(self.address).writing() as connection:
            return connection.execute(delete(serving_reports).where(empty | old)).rowcount

    def _read(self, model: str, *only: ColumnElement[bool]) -> Reports:
        database, table = open_database(self.address), serving_reports.c
        for report in reports_in_files(self.folder, model):
            with database.writing() as connection:
                put(connection, report, _seconds(report.at))
        query = select(table.instance, table.content, (now() - table.seen).label("age"))
        with database.reading() as connection:
            rows = connection.execute(query.where(table.model == model, *only)).all()
        return _sorted(found for found in map(_report, rows) if found is not None)


def put(connection: Connection, report: ServingReport, seen: float | None = None) -> None:
    """Write a report inside a transaction, unless the table has a newer one of its process.

    Parameters
    ----------
    seen
        When it was written; now if not given.
    """
    table = serving_reports.c
    row = {
        "model": report.model,
        "instance": report.instance,
        "host": report.host,
        "number": report.number,
        "seen": now() if seen is None else seen,
        "answered": any(counted.requests or counted.shadows for counted in report.counts.values()),
        "content": json.dumps(stamped(report.to_json())),
    }
    mine = (table.model == report.model) & (table.instance == report.instance)
    older = update(serving_reports).where(mine, table.number <= report.number)
    if connection.execute(older.values(row)).rowcount == 0:
        _insert_first(connection, serving_reports, row)


def note_served(connection: Connection, model: str, versions: dict[str, float]) -> None:
    """Record inside a transaction which versions have answered, and since when; the first record of a version stays."""
    query = select(served_versions.c.version).where(served_versions.c.model == model)
    known = set(connection.scalars(query)) if versions else set()
    for version in sorted(
        versions.keys() - known
    ):  # in one order, so that two processes never wait for each other
        _insert_first(
            connection, served_versions, {"model": model, "version": version, "at": versions[version]}
        )


def _insert_first(connection: Connection, table: Any, row: dict[str, Any]) -> None:
    """Insert a row unless another process did it first."""
    with suppress(IntegrityError), connection.begin_nested():
        connection.execute(insert(table).values(row))


def _report(row: Row[Any]) -> tuple[ServingReport, float] | None:
    try:
        found = ServingReport.from_json(loads(row.content, f"the report of serving process {row.instance}"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _LOG.warning("the report of serving process %s cannot be read: %s", row.instance, error)
        return None
    return found, float(row.age)


def _sorted(found: Iterable[tuple[ServingReport, float]]) -> Reports:
    live: list[ServingReport] = []
    gone: list[ServingReport] = []
    for report, age in sorted(found, key=lambda one: (one[0].host, one[0].pid, one[0].instance)):
        (gone if report.stopped or age >= FRESH.total_seconds() else live).append(report)
    return Reports(tuple(live), tuple(gone))


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()
