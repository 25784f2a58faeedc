"""Packages of a user's own whose classes a stored model names: their versions are kept with it, and compared when it is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from evermodel.core.errors import ModelFormatError
from evermodel.modeling.kept_file import read_kept

FILE = "packages.json"
_INSTALLED = {"site-packages", "dist-packages"}


def distribution_pin(package: str) -> str | None:
    """Return ``name==version`` of the distribution that brings a package; None if none does."""
    try:
        return f"{package}=={version(package)}"
    except PackageNotFoundError:
        found = find_spec(package)  # of a top-level name, which imports nothing
        if found is None or not _INSTALLED & set(Path(found.origin or "").parts):
            return None  # and does not read every package's metadata, which takes a second
        names = packages_distributions().get(package)
        return f"{names[0]}=={version(names[0])}" if names else None


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return what identifies each package here: its distribution's pin, or the SHA-256 of its Python files.

    Raises
    ------
    ModelFormatError
        One is not installed.
    """
    return {name: distribution_pin(name) or _source_digest(name) for name in sorted(packages)}


def require_versions(folder: Path) -> None:
    """Raise `ModelFormatError` unless the packages that a downloaded model was stored with are those of this environment."""
    kept: dict[str, str] = (
        read_kept(folder / FILE, "no readable versions", lambda found: dict(found["packages"])) or {}
    )
    for name, found in versions_of(kept).items():
        if found != kept[name]:
            raise ModelFormatError(
                f"{folder}: the model was stored with {kept[name]}, and {found} is installed",
                f"install {kept[name]} here, or retrain",
            )


def _source_digest(package: str) -> str:
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModelFormatError(
            f"the package {package}, which the model uses, is not installed",
            "install it, or put it on PYTHONPATH, wherever the model is trained, scored or served",
        )
    origin = Path(found.origin)
    folder = origin.parent if found.submodule_search_locations else None
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")) if folder else [origin]:
        digest.update(f"{file.relative_to(origin.parent).as_posix()}\0".encode())
        digest.update(file.read_bytes())
    return f"{package} (SHA-256 of its files {digest.hexdigest()[:12]})"
