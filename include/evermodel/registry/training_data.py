"""The snapshots that versions were trained on, and their restore."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from evermodel.core.atomic import replacing
from evermodel.core.errors import PermanentError, SnapshotStoreError
from evermodel.core.settings import Settings
from evermodel.core.storage import StoragePath, files_in, path_in, readable
from evermodel.data.snapshots.dvc import snapshot_file
from evermodel.data.snapshots.store import snapshot_store
from evermodel.registry.lineage import Lineage
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tags import AS_OF, SNAPSHOT, SNAPSHOT_MD5
from evermodel.registry.tracking import may_pass, paged

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion


@dataclass(frozen=True)
class DataLine:
    """One snapshot.

    Parameters
    ----------
    versions
        Versions trained on it, lowest first.
    here
        Whether the file is in this lake; otherwise it can be fetched from the remote.
    """

    model: str
    path: str
    md5: str
    versions: tuple[str, ...]
    as_of: tuple[str, ...]
    rows: int | None
    megabytes: float | None
    here: bool


def data_lines(client: MlflowClient | None, model: str | None, settings: Settings) -> list[DataLine]:
    """List the snapshots that this lake tracks or that a registered version was trained on.

    Parameters
    ----------
    client
        MLflow's client; without it only the lake is read.
    """
    known: dict[tuple[str, str, str], list[ModelVersion]] = defaultdict(list)
    sizes: dict[str, float] = {}
    for pointer in files_in(settings.lake / "snapshots", f"{model or '*'}/*.parquet.dvc"):
        out = _out(pointer)
        if out is not None:
            path = path_in(settings.lake, pointer.with_suffix(""))
            known[(pointer.parent.name, path, str(out["md5"]))] = []
            sizes[path] = out.get("size", 0) / 1e6
    for version in [] if client is None else _versions(client, model):
        made = Lineage.from_version(version)
        known[(version.name, made.snapshot, made.snapshot_md5)].append(version)
    return [
        _line(*key, versions, sizes.get(key[1]), settings)
        for key, versions in sorted(known.items(), key=_newest)
    ]


def checkout(
    client: MlflowClient, model: str, version: str, settings: Settings, to: Path | None = None
) -> tuple[StoragePath, str]:
    """Restore a version's training data, with a copy at `to` if it is given; return the file and its md5.

    Parameters
    ----------
    version
        Number or alias, such as ``champion``.

    Raises
    ------
    PermanentError
        The version does not exist, or has no snapshot.
    SnapshotStoreError
        Neither lake nor remote has the content.
    """
    found = _find(client, model, version)
    made = Lineage.from_version(found).require(found, "snapshot", "snapshot_md5")
    store, path, md5 = snapshot_store(settings), made.snapshot, made.snapshot_md5
    store.bring(path, md5)
    if to is None:
        return store.source(path), md5
    target = to / Path(path).name if to.is_dir() else to
    with replacing(target) as temporary, store.local(path) as file:
        shutil.copyfile(file, temporary)
    return target, md5


def _find(client: MlflowClient, model: str, version: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        if version.isdecimal():
            return client.get_model_version(model, version)
    except MlflowException as error:
        if may_pass(error):
            raise
        found = None
    else:
        found = ModelRegistry(client).at_alias(model, version)
    if found is None:
        numbers = ", ".join(str(v.version) for v in _versions(client, model)) or "none"
        raise PermanentError(
            f"the registry has no version or alias {version} of a model {model}",
            f"versions with a snapshot: {numbers}",
        )
    return found


def _versions(client: MlflowClient, model: str | None) -> list[ModelVersion]:
    every = paged(client.search_model_versions, f"name = '{model}'" if model else None)
    found = [version for version in every if {SNAPSHOT, SNAPSHOT_MD5} <= version.tags.keys()]
    return sorted(found, key=lambda version: (version.name, int(version.version)))


def _line(
    model: str, path: str, md5: str, versions: list[ModelVersion], size: float | None, settings: Settings
) -> DataLine:
    file = _file_here(path, settings)
    return DataLine(
        model=model,
        path=path,
        md5=md5,
        versions=tuple(str(version.version) for version in versions),
        as_of=tuple(version.tags.get(AS_OF, "")[:10] for version in versions),
        rows=None if file is None else _rows(file),
        megabytes=size if file is None else round(file.stat().st_size / 1e6, 3),
        here=file is not None,
    )


def _file_here(path: str, settings: Settings) -> StoragePath | None:
    """Return where a snapshot can be read without a restore; None if it cannot."""
    if isinstance(settings.lake, Path):
        file = snapshot_file(settings.lake, path)
        return file if file.exists() else None
    try:
        return snapshot_store(settings).source(path)
    except SnapshotStoreError:
        return None


def _rows(file: StoragePath) -> int | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(readable(file)).num_rows)
    except (pa.ArrowException, OSError):
        return None


def _out(pointer: StoragePath) -> dict[str, Any] | None:
    try:
        out: dict[str, Any] = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]
        return out if "md5" in out else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return None  # incomplete; the next retrain repairs it


def _newest(item: tuple[tuple[str, str, str], list[ModelVersion]]) -> tuple[str, int, str]:
    key, versions = item
    return key[0], max((int(version.version) for version in versions), default=0), key[1]
