"""Check of the DVC remote by a push."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import dvc.repo  # noqa: F401 - checks run side by side, so all of DVC is imported before

from evermodel.core.diagnostics import Finding, first_line
from evermodel.core.errors import EvermodelError
from evermodel.core.settings import Settings
from evermodel.data.snapshots.bucket import BucketSnapshots
from evermodel.data.snapshots.dvc import SnapshotStore


def check_remote(settings: Settings) -> Iterator[Finding]:
    """Push a file of a few bytes, always the same one, to the DVC remote."""
    remote = settings.dvc_remote
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "doctor" / "pushed.txt"
        file.parent.mkdir()
        file.write_text("Pushed by evermodel doctor.\n", encoding="utf-8")
        try:
            if isinstance(settings.lake, Path):
                SnapshotStore(Path(folder), remote).track(file)
            else:
                BucketSnapshots(settings.lake, remote).push(file)
        except (EvermodelError, OSError) as error:
            yield Finding(
                "DVC remote",
                "red",
                f"{remote}: {first_line(error)}",
                "check the address (EVERMODEL_DVC_REMOTE), its credentials, and its extra (s3: dvc-s3)",
            )
            return
    if "://" in remote or settings.lake not in Path(remote).parents:
        yield Finding("DVC remote", "green", f"{remote} accepts pushes")
    else:
        yield Finding(
            "DVC remote",
            "yellow",
            f"{remote} is inside the lake",
            "put it on another disk, because it is the lake's backup",
        )
