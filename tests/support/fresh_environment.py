"""Fresh environments from the package index, their size, and what is in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

UV = Path(sys.executable).with_name("uv")


@dataclass(frozen=True)
class Size:
    """What an environment holds: its distributions, and its megabytes without byte code."""

    names: frozenset[str]
    megabytes: int


class FreshEnvironment:
    """An environment made by uv; the test is skipped where its Python cannot be had.

    Parameters
    ----------
    python
        Such as ``3.12``.
    wheels
        The folder of this project's wheels.
    """

    def __init__(self, home: Path, python: str, wheels: Path) -> None:
        self.home, self.wheels = home, wheels
        found = interpreter(python)
        if found is None:
            pytest.skip(f"there is no Python {python} on this machine")
        subprocess.run([UV, "venv", "--quiet", "--python", found, home], check=True)

    @property
    def programs(self) -> Path:
        """The folder of its programs."""
        return self.home / "bin"

    def install(self, *words: str | Path) -> None:
        """Install requirements; what cannot be resolved fails with uv's own words."""
        command = [UV, "pip", "install", "--quiet", "--python", self.programs / "python"]
        # uv keeps what it unpacked, by a wheel's place: that of an earlier run may have been the same.
        ours = [f"--refresh-package={name}" for name in ("evermodel", "airflow-provider-evermodel")]
        done = subprocess.run(
            [*command, *ours, "--find-links", self.wheels, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    def size(self) -> Size:
        """Return what is installed."""
        listed = subprocess.run(
            [UV, "pip", "list", "--format", "json", "--python", self.programs / "python"],
            capture_output=True,
            check=True,
        )
        (packages,) = self.home.glob("lib/python*/site-packages")
        files = (file for file in packages.rglob("*") if file.suffix != ".pyc" and file.is_file())
        names = frozenset(entry["name"].lower() for entry in json.loads(listed.stdout))
        return Size(names, round(sum(file.stat().st_size for file in files) / 1_000_000))

    def run(self, *words: str | Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, with nothing that is set for other tests."""
        ours = ("EVERMODEL_", "AIRFLOW", "MLFLOW_", "PYTHON")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        path = f"{self.programs}:{kept['PATH']}"
        return subprocess.run(
            words, cwd=folder, env={**kept, **variables, "PATH": path}, capture_output=True, text=True
        )


def interpreter(version: str) -> str | None:
    """Return a Python of a version: one that ``EVERMODEL_TEST_PYTHONS`` names, of the PATH, or of pyenv."""
    for given in filter(None, os.environ.get("EVERMODEL_TEST_PYTHONS", "").split(os.pathsep)):
        asked = "import sys; print('%d.%d' % sys.version_info[:2])"
        if subprocess.run([given, "-c", asked], capture_output=True, text=True).stdout.strip() == version:
            return given
    done = subprocess.run(
        [UV, "python", "find", "--no-project", "--system", version], capture_output=True, text=True
    )
    if done.returncode == 0:
        return done.stdout.strip()
    found = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    return str(found[-1]) if found else None
