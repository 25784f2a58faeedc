"""The two distributions of this project: what they need, their wheels, and environments made of this one's packages."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.paths import PROJECT

# The folder of each one's pyproject.toml.
FOLDERS = {"evermodel": PROJECT, "airflow-provider-evermodel": PROJECT / "plugins"}


def pyproject(name: str) -> dict[str, Any]:
    """Return the section `project` of a distribution."""
    text = (FOLDERS[name] / "pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text)["project"]
    return found


def build_wheels(folder: Path, *, from_sdist: bool = False) -> list[Path]:
    """Build both wheels into a folder: straight from this checkout, or from source distributions, which stay there."""
    uv = Path(sys.executable).with_name("uv")
    for source in FOLDERS.values():
        kind = [] if from_sdist else ["--wheel"]
        subprocess.run([uv, "build", *kind, "--quiet", "--out-dir", folder, source], check=True)
    return sorted(folder.glob("*.whl"))


def needed_by(*requirements: str) -> set[str]:
    """Return the distributions that requirements bring, by their canonical names.

    What ours require is in their pyproject.toml, what others require in their metadata.
    """
    found: dict[str, set[str]] = {}
    waiting = [Requirement(text) for text in requirements]
    while waiting:
        needed = waiting.pop()
        name, extras = canonicalize_name(needed.name), {"", *needed.extras}
        if name in found and extras <= found[name]:
            continue
        found[name] = found.get(name, set()) | extras
        waiting += [
            line
            for line in map(Requirement, _lines(name, extras))
            if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in extras)
        ]
    return set(found)


def _lines(name: str, extras: Iterable[str]) -> list[str]:
    if name in FOLDERS:
        declared = pyproject(name)
        chosen = [declared["optional-dependencies"][extra] for extra in extras if extra]
        return [line for lines in (declared["dependencies"], *chosen) for line in lines]
    try:
        return distribution(name).requires or []
    except PackageNotFoundError:
        return []


def environment_of(names: Iterable[str] | None, home: Path) -> Path:
    """Make an environment with packages of this one, but without this checkout; return the folder of its programs.

    Parameters
    ----------
    names
        The distributions that it has; None for all.
    """
    venv.create(home, with_pip=False, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    for file in _files(names):
        (packages / file.name).symlink_to(file)
    for name, start in {"pip": "pip._internal.cli.main", "airflow": "airflow.__main__"}.items():
        program = home / "bin" / name
        program.write_text(f"#!{home}/bin/python\nimport sys\nfrom {start} import main\nsys.exit(main())\n")
        program.chmod(0o755)
    return home / "bin"


def _files(names: Iterable[str] | None) -> set[Path]:
    """Return the files and folders of distributions, each at the top of ``site-packages``."""
    top = Path(sysconfig.get_path("purelib"))
    if names is None:
        return {file for file in top.iterdir() if "evermodel" not in file.name}
    first = {
        file.parts[0] for name in names if "evermodel" not in name for file in distribution(name).files or ()
    }
    return {top / part for part in first if part not in ("..", "__pycache__") and (top / part).exists()}
