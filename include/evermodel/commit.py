"""The commit of the code and the specs that a run worked with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

GIVEN = "EVERMODEL_COMMIT"


def git_commit(folder: Path) -> str:
    """Return the commit of the repository around a folder, with ``-dirty`` if it has changes; else ``unknown``.

    What the environment variable ``EVERMODEL_COMMIT`` says comes first: an image has no repository to ask.
    """
    if given := os.environ.get(GIVEN, "").strip():
        return given
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
