"""Reports of serving processes as earlier releases kept them: files in the lake, read until the last such process has ended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from evermodel.core.formats import loads
from evermodel.core.paths import inside
from evermodel.registry.serving_heartbeats import ServingReport

_LOG = logging.getLogger(__name__)
_WRITTEN_AGAIN = timedelta(minutes=5)  # by a process of an earlier release that still runs


def reports_in_files(folder: Path, model: str) -> Iterator[ServingReport]:
    """Yield the reports of a model; the file of an ended process is deleted once the caller has used its report."""
    for file in sorted(_folder(folder, "reports", model).glob("*.json")):
        report = _report(file)
        if report is None:
            continue
        at = datetime.fromisoformat(report.at)
        yield replace(report, number=int(at.timestamp() * 1000))
        if report.stopped or datetime.now(UTC) - at > _WRITTEN_AGAIN:
            _delete(file)


def served_in_files(folder: Path, model: str) -> Iterator[tuple[str, float]]:
    """Yield the versions that ever answered, each with the time of the first report as seconds since 1970; as above."""
    for note in sorted(_folder(folder, "served", model).glob("[!.]*")):
        try:
            at = datetime.fromisoformat(note.read_text(encoding="utf-8")).timestamp()
        except (OSError, ValueError) as error:
            _LOG.warning("the record %s cannot be read: %s", note, error)
            continue
        yield note.name, at
        _delete(note)


def _folder(folder: Path, kind: str, model: str) -> Path:
    return inside(folder / kind, model)


def _report(file: Path) -> ServingReport | None:
    try:
        report = ServingReport.from_json(loads(file.read_text(encoding="utf-8"), file))
        if report.instance != file.stem:
            raise ValueError(f"it is of {report.instance[:100]!r}")
        datetime.fromisoformat(report.at)
        return report
    except FileNotFoundError:
        return None  # another process has taken it over
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("the report %s cannot be read: %s", file, error)
        return None


def _delete(file: Path) -> None:
    with suppress(OSError):  # of a reader that may not: it stays
        file.unlink()
