"""The files of a model version: their SHA-256, and the check against those that its decision lists."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import ModelChangedError
from evermodel.core.formats import json_digest
from evermodel.registry.retrain_run import DECISION_FILE, retrain_of
from evermodel.registry.tags import CONTENT, DECISION
from evermodel.registry.tracking import read_json

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion

_LOG = logging.getLogger(__package__)
_ADVICE = "retrain, or roll back to another version; what changed the stored model needs an investigation"


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder, by its path in it.

    Raises
    ------
    ModelChangedError
        Something is neither a file nor a folder, such as a symbolic link.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ModelChangedError(f"{folder}: {name} is not a regular file", _ADVICE)
        if path.is_file():
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def content_digest(files: Mapping[str, str]) -> str:
    """Return one SHA-256 for all files of a model (see `hash_files`), 64 hex digits.

    >>> content_digest({"a": "1", "b": "2"}) == content_digest({"b": "2", "a": "1"})
    True
    """
    return json_digest(dict(files))


def decision_digest(decision: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a decision's plain data, 16 hex digits."""
    return json_digest(decision)[:16]


def require_same(
    files: Mapping[str, str], judged: Mapping[str, str], what: str, since: str = "evaluated"
) -> None:
    """Refuse files that differ from those that were evaluated.

    Parameters
    ----------
    files, judged
        SHA-256 by path, as found and as evaluated.
    what
        Names the model in the error, and `since` what `judged` was taken from.

    Raises
    ------
    ModelChangedError
        A file was changed, is missing or was added; the error names it.
    """
    for name in sorted({*files, *judged}):
        if files.get(name) != judged.get(name):
            how = "is missing" if name not in files else "was changed" if name in judged else "was added"
            raise ModelChangedError(f"{what}: {name} {how} since the model was {since}", _ADVICE)


def require_judged(client: MlflowClient, version: ModelVersion, files: Mapping[str, str]) -> None:
    """Refuse downloaded files of a version that are not those that its decision lists.

    Versions without hashes (of earlier releases, or registered without a decision) pass, with a warning in the log.

    Raises
    ------
    ModelChangedError
        A file differs, or the decision does.
    """
    what, tagged = f"model {version.name}: version {version.version}", version.tags.get(CONTENT)
    judged = _judged_files(client, version, what)  # a tag can be made to fit other files
    if not judged and tagged == content_digest(files):
        return
    if not judged and tagged is None:
        _LOG.warning(
            "event=no_file_hashes model=%s version=%s detail=%s",
            *(version.name, version.version, '"its decision lists no SHA-256: its files are not checked"'),
        )
        return
    if judged:
        require_same(files, judged, what)
    if tagged is not None and tagged != content_digest(files):
        raise ModelChangedError(f"{what}: its tag {CONTENT} is not that of its decision", _ADVICE)


def _judged_files(client: MlflowClient, version: ModelVersion, what: str) -> dict[str, str]:
    """Return the files that the decision on a version lists; empty if it lists none."""
    run = retrain_of(client, version)
    if run is None:
        return {}
    decision = read_json(client, run.info.run_id, DECISION_FILE)
    digest = decision_digest(decision)
    if version.tags.get(DECISION, digest) != digest:
        raise ModelChangedError(
            f"{what}: {DECISION_FILE} was changed since the version was registered", _ADVICE
        )
    files: dict[str, str] = decision.get("files", {})
    return files
