"""Checks that load no heavy library: serving processes, the clock, the lake, Python and package versions."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from evermodel import __version__
from evermodel.core.diagnostics import Finding, Level, first_line
from evermodel.core.errors import EvermodelError
from evermodel.core.logins import ask
from evermodel.core.settings import Settings
from evermodel.core.storage import BucketPath, create, replace_unchanged, version_of

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def check_serving(settings: Settings) -> Iterator[Finding]:
    """Ask every serving address whether it is ready."""
    if not settings.serving_urls:
        yield Finding(
            "serving",
            "yellow",
            "no address is set, so response times and errors are not monitored",
            "set EVERMODEL_SERVING_URLS if you run a serving app",
        )
    for url in settings.serving_urls:
        yield _one(url)


def _one(url: str) -> Finding:
    try:
        answer = ask(url, "/ready", 5)
    except httpx.HTTPError as error:
        return Finding(
            "serving",
            "red",
            f"{url} does not answer ({first_line(error)})",
            "start it (evermodel serve <models>), or correct EVERMODEL_SERVING_URLS",
        )
    if answer.status_code == 200:
        return Finding("serving", "green", f"{url} is ready")
    return Finding(
        "serving",
        "red",
        f"{url} is not ready: HTTP {answer.status_code}, {answer.text[:300].strip()}",
        "see the models and reasons in its answer; if there is no champion yet, run evermodel train <model>",
    )


_SECONDS, _TOO_MANY = 30, 300


def check_clock(settings: Settings) -> Iterator[Finding]:
    """Compare the clock with MLflow's, if the server sends it."""
    now = datetime.now(UTC)
    zone = now.astimezone().tzname() or "UTC"
    here = f"{now:%Y-%m-%d %H:%M:%S} UTC, this machine's zone is {zone}; windows and schedules are UTC"
    away = _away(settings.tracking_uri)
    if away is None or abs(away) <= _SECONDS:
        yield Finding("clock", "green", here)
        return
    yield Finding(
        "clock",
        "red" if abs(away) > _TOO_MANY else "yellow",
        f"this clock and that of {settings.tracking_uri} are {abs(away):,.0f} s apart",
        "synchronize both by NTP; windows, quiet hours and time limits depend on it",
    )


def _away(uri: str) -> float | None:
    """Return by how many seconds the server's clock is ahead; None if unknown."""
    if not uri.startswith("http"):
        return None
    try:
        answer = ask(uri, "/health", 5)
        theirs = parsedate_to_datetime(answer.headers["date"])
    except (httpx.HTTPError, KeyError, ValueError):
        return None
    return (theirs - datetime.now(UTC)).total_seconds()


_GIGABYTE = 1024**3
_LITTLE, _TOO_LITTLE = 5 * _GIGABYTE, _GIGABYTE


def check_lake(settings: Settings) -> Iterator[Finding]:
    """Write a file into the lake and the home, and look at the free space; a bucket must hold its conditions."""
    folders = [("home", settings.home, "EVERMODEL_HOME")]
    if isinstance(settings.lake, Path):
        folders.insert(0, ("lake", settings.lake, "EVERMODEL_LAKE"))
    else:
        yield _bucket(settings.lake)
    for name, folder, variable in folders:
        problem = unwritable(folder)
        if problem:
            yield Finding(
                name,
                "red",
                f"{folder}: {problem}",
                f"give this user write access, mount the folder, or set another one ({variable})",
            )
            continue
        free = shutil.disk_usage(existing(folder)).free
        said = f"{folder}: {free / _GIGABYTE:,.1f} GB free"
        if free < _LITTLE:
            yield Finding(
                name,
                "red" if free < _TOO_LITTLE else "yellow",
                said,
                "free some space; snapshots and daily predictions are stored here",
            )
        else:
            yield Finding(name, "green", said)


def _bucket(lake: BucketPath) -> Finding:
    """Create and replace an object of its own, and delete it."""
    probe = lake / ".doctor" / uuid.uuid4().hex
    try:
        created, again = create(probe, b"1"), create(probe, b"2")
        version = version_of(probe) or ""
        replaced, stale = replace_unchanged(probe, b"3", version), replace_unchanged(probe, b"4", version)
        found = probe.read_bytes()
        probe.unlink(missing_ok=True)
    except EvermodelError as error:
        return Finding("lake", "red", error.problem, error.advice)
    if (created, again, replaced, stale, found) != (True, False, True, False, b"3"):
        return Finding(
            "lake",
            "red",
            f"{lake} ignores the conditions of writes (If-None-Match, If-Match)",
            "use a store, or a version of it, that holds them: two writers would overwrite each other",
        )
    return Finding("lake", "green", f"{lake}: readable, writable, and conditional writes hold")


def existing(folder: Path) -> Path:
    """Return the folder, or its nearest existing parent."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def unwritable(folder: Path) -> str:
    """Return why a folder is not writable; empty if it is, or can be created."""
    place = existing(folder)
    if not place.is_dir():
        return f"{place} is not a folder"
    if place != folder:
        return "" if os.access(place, os.W_OK) else f"it does not exist, and {place} is not writable"
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
            return ""
    except OSError as error:
        return first_line(error)


# The second is there where Airflow is.
DISTRIBUTIONS = ("evermodel", "airflow-provider-evermodel")
# What the tests run with, as in requirements.txt.
TESTED = {
    "apache-airflow": "3.3.2",
    "dvc": "3.67.1",
    "duckdb": "2.0.0",
    "evidently": "0.7.23",
    "fastapi": "0.136.3",
    "mlflow": "3.17.2",
    "onnxruntime": "1.31.1",
    "pandas": "2.3.3",
    "scikit-learn": "1.9.1",
}
TESTED_PYTHON = ("3.11", "3.12", "3.13")


def check_versions(settings: Settings) -> Iterator[Finding]:
    """Compare Python and packages with the declared and the tested versions."""
    yield _python()
    broken = {said for needed in _declared() if (said := _outside(needed))}
    if broken:
        yield Finding(
            "packages",
            "red",
            "; ".join(sorted(broken)),
            f"pip install 'evermodel=={__version__}' again, with the constraints of requirements.txt",
        )
    other = [said for name, tested in TESTED.items() if (said := _untested(name, tested))]
    named = ("apache-airflow", "mlflow", "evidently", "scikit-learn")
    said = f"evermodel {__version__}; " + ", ".join(f"{name} {_installed(name) or '-'}" for name in named)
    if other:
        yield Finding(
            "versions",
            "yellow",
            "; ".join(other),
            "allowed by the declared requirements, but not tested together",
        )
    else:
        yield Finding("versions", "green", said)


def _declared() -> Iterator[Requirement]:
    """Yield what the installed distributions require: the core, and each extra of which nothing is missing."""
    from packaging.requirements import Requirement

    for name in filter(_installed, DISTRIBUTIONS):
        groups: dict[str, list[Requirement]] = {}
        for line in requires(name) or ():
            needed, named = Requirement(line), re.search(r"extra == [\"']([\w-]+)", line)
            extra = named[1] if named else ""
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                groups.setdefault(extra, []).append(needed)
        for extra, group in groups.items():
            if not extra or all(_installed(needed.name) for needed in group):
                yield from group


def _python() -> Finding:
    found = platform.python_version()
    level: Level = "green" if found.startswith(tuple(f"{tested}." for tested in TESTED_PYTHON)) else "red"
    advice = "" if level == "green" else f"use Python {' or '.join(TESTED_PYTHON)}"
    return Finding("Python", level, found, advice)


def _outside(needed: Requirement) -> str:
    """Return whether a declared dependency is missing or out of range; empty if neither."""
    found = _installed(needed.name)
    if not found:
        return f"{needed.name} is missing"
    if not needed.specifier.contains(found, prereleases=True):
        return f"{needed.name} {found} is installed, {needed.specifier} is required"
    return ""


def _untested(name: str, tested: str) -> str:
    """Return whether a package has another minor version than the tested one."""
    found = _installed(name)
    if not found or found.split(".")[:2] == tested.split(".")[:2]:
        return ""
    return f"{name} {found} (tested: {tested})"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
