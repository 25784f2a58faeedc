"""Can the lake be written, and is there space?"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from evermodel.core.diagnostics import Finding, first_line
from evermodel.core.settings import Settings

_GIGABYTE = 1024**3
_LITTLE, _TOO_LITTLE = 5 * _GIGABYTE, _GIGABYTE


def check_lake(settings: Settings) -> Iterator[Finding]:
    """Write a file into the lake and the home, and look at the free space."""
    for name, folder, variable in (
        ("lake", settings.lake, "EVERMODEL_LAKE"),
        ("home", settings.home, "EVERMODEL_HOME"),
    ):
        problem = unwritable(folder)
        if problem:
            yield Finding(
                name,
                "red",
                f"{folder}: {problem}",
                f"let this user write there, mount it, or name another folder ({variable})",
            )
            continue
        free = shutil.disk_usage(existing(folder)).free
        said = f"{folder}: {free / _GIGABYTE:,.1f} GB free"
        if free < _LITTLE:
            yield Finding(
                name,
                "red" if free < _TOO_LITTLE else "yellow",
                said,
                "free some space; snapshots and predictions of every day are kept here",
            )
        else:
            yield Finding(name, "green", said)


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def unwritable(folder: Path) -> str:
    """Say why nothing can be written into a folder; empty if it can, also if it is still to be made."""
    place = existing(folder)
    if not place.is_dir():
        return f"{place} is no folder"
    if place != folder:
        return "" if os.access(place, os.W_OK) else f"it is not there, and {place} cannot be written"
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-"):
            return ""
    except OSError as error:
        return first_line(error)
