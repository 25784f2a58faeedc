"""The store of snapshots that an installation's lake needs."""

from __future__ import annotations

from pathlib import Path

from evermodel.core.settings import Settings
from evermodel.data.snapshots.bucket import BucketSnapshots
from evermodel.data.snapshots.dvc import SnapshotStore


def snapshot_store(settings: Settings, remote: str = "") -> SnapshotStore | BucketSnapshots:
    """Return the store of a lake's snapshots.

    Parameters
    ----------
    remote
        Another remote than that of the settings.
    """
    remote = remote or settings.dvc_remote
    if isinstance(settings.lake, Path):
        return SnapshotStore(settings.lake, remote)
    return BucketSnapshots(settings.lake, remote)
