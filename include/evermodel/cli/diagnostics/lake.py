"""Check of the lake: write access and free space."""

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
