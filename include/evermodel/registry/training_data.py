"""The snapshots that versions were trained on, and their restore."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from evermodel.core.atomic import replacing
from evermodel.core.errors import PermanentError
from evermodel.core.settings import Settings
from evermodel.data.snapshots.dvc import SnapshotStore, snapshot_file
from evermodel.registry.lineage import Lineage
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tags import AS_OF, SNAPSHOT, SNAPSHOT_MD5
from evermodel.registry.tracking import paged

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
    for pointer in sorted((settings.lake / "snapshots").glob(f"{model or '*'}/*.parquet.dvc")):
        out = _out(pointer)
        if out is not None:
            path = str(pointer.with_suffix("").relative_to(settings.lake))
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
) -> tuple[Path, str]:
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
    file, md5 = snapshot_file(settings.lake, made.snapshot), made.snapshot_md5
    SnapshotStore(settings.lake, settings.dvc_remote).bring(file, md5)
    if to is None:
        return file, md5
    target = to / file.name if to.is_dir() else to
    with replacing(target) as temporary:
        shutil.copyfile(file, temporary)
    return target, md5


def _find(client: MlflowClient, model: str, version: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        if version.isdecimal():
            return client.get_model_version(model, version)
    except MlflowException:
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
    file = snapshot_file(settings.lake, path)
    here = file.exists()
    return DataLine(
        model=model,
        path=path,
        md5=md5,
        versions=tuple(str(version.version) for version in versions),
        as_of=tuple(version.tags.get(AS_OF, "")[:10] for version in versions),
        rows=_rows(file) if here else None,
        megabytes=round(file.stat().st_size / 1e6, 3) if here else size,
        here=here,
    )


def _rows(file: Path) -> int | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(file).num_rows)
    except (pa.ArrowException, OSError):
        return None


def _out(pointer: Path) -> dict[str, Any] | None:
    try:
        out: dict[str, Any] = yaml.safe_load(pointer.read_text(encoding="utf-8"))["outs"][0]
        return out if "md5" in out else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError):
        return None  # incomplete; the next retrain repairs it


def _newest(item: tuple[tuple[str, str, str], list[ModelVersion]]) -> tuple[str, int, str]:
    key, versions = item
    return key[0], max((int(version.version) for version in versions), default=0), key[1]
