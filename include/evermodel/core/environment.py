"""The Python environment that a version was made in, as a list of packages and its digest."""

from __future__ import annotations

import hashlib
import os
import platform
import pwd
import subprocess
from functools import cache
from importlib.metadata import distributions
from pathlib import Path


@cache
def installed_packages() -> str:
    """Return the Python version and every installed package with its version, one a line, sorted."""
    facts = [found.metadata for found in distributions()]  # read anew whenever it is asked for
    found = {f"{fact['Name'].lower().replace('_', '-')}=={fact['Version']}" for fact in facts if fact["Name"]}
    return "\n".join([f"python=={platform.python_version()}", *sorted(found)]) + "\n"


def os_user() -> str:
    """Return the operating system's name of this process's user, which no environment variable changes."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user may have a number only
        return f"uid {os.getuid()}"


def thread_count() -> str:
    """Return how many threads numeric libraries take here: sums of many threads differ in their last bits."""
    return os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count() or 1)


@cache
def processor() -> str:
    """Name this machine's processor and a digest of what it can: libraries choose their kernels, and so their rounding, by that."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return platform.processor() or platform.machine()
    facts = dict(line.replace("\t", "").partition(": ")[::2] for line in lines if ": " in line)
    able = " ".join(sorted(facts.get("flags", facts.get("Features", "")).split()))
    name = facts.get("model name", platform.machine())
    return f"{name}, {hashlib.sha256(able.encode()).hexdigest()[:8]}"


def start_worker_of_one_thread() -> None:
    """Begin a worker process, before it loads numeric libraries: sums of several threads differ in their last bits."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"


def environment_digest() -> str:
    """Return the SHA-256 of the environment, 16 hex digits."""
    return hashlib.sha256(installed_packages().encode()).hexdigest()[:16]


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
