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
    facts = [found.metadata for found in distributions()]  # read anew whenever it is asked for
    found = {f"{fact['Name'].lower().replace('_', '-')}=={fact['Version']}" for fact in facts if fact["Name"]}
    return "\n".join([f"python=={platform.python_version()}", *sorted(found)]) + "\n"


def thread_count() -> str:
    """Return how many threads numeric libraries take here: sums of many threads differ in their last bits."""
    return os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)


def environment_digest() -> str:
    """Return the SHA-256 of the environment, 16 hex digits."""
    return hashlib.sha256(installed_packages().encode()).hexdigest()[:16]
