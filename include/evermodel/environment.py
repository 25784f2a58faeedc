"""The Python environment that a version was made in, as a list of packages and its digest."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache
from importlib.metadata import distributions


@cache
def installed_packages() -> str:
    """Return the Python version and every installed package with its version, one a line, sorted."""
    found = {f"{d.name.lower().replace('_', '-')}=={d.version}" for d in distributions() if d.name}
    return "\n".join([f"python=={platform.python_version()}", *sorted(found)]) + "\n"


def thread_count() -> str:
    """Return how many threads numeric libraries take here: sums of many threads differ in their last bits."""
    return os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)


def environment_digest() -> str:
    """Return the SHA-256 of the environment, 16 hex digits."""
    return hashlib.sha256(installed_packages().encode()).hexdigest()[:16]
