"""Check of Python and package versions."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from evermodel import __version__
from evermodel.core.diagnostics import Finding, Level
from evermodel.core.settings import Settings

DISTRIBUTION = "airflow-provider-evermodel"
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
TESTED_PYTHON = ("3.11", "3.12")


def check_versions(settings: Settings) -> Iterator[Finding]:
    """Compare Python and packages with the declared and the tested versions."""
    yield _python()
    broken = [said for line in requires(DISTRIBUTION) or () if (said := _outside(line))]
    if broken:
        yield Finding(
            "packages",
            "red",
            "; ".join(broken),
            f"pip install '{DISTRIBUTION}=={__version__}' again, with the constraints of requirements.txt",
        )
    other = [said for name, tested in TESTED.items() if (said := _untested(name, tested))]
    said = f"evermodel {__version__}; " + ", ".join(
        f"{name} {_installed(name)}" for name in ("apache-airflow", "mlflow", "evidently", "scikit-learn")
    )
    if other:
        yield Finding(
            "versions",
            "yellow",
            "; ".join(other),
            "allowed by the declared requirements, but not tested together",
        )
    else:
        yield Finding("versions", "green", said)


def _python() -> Finding:
    found = platform.python_version()
    level: Level = "green" if found.startswith(tuple(f"{tested}." for tested in TESTED_PYTHON)) else "red"
    advice = "" if level == "green" else f"use Python {' or '.join(TESTED_PYTHON)}"
    return Finding("Python", level, found, advice)


def _outside(line: str) -> str:
    """Return whether a declared dependency is missing or out of range; empty if neither."""
    from packaging.requirements import Requirement

    needed = Requirement(line)
    if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
        return ""
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
