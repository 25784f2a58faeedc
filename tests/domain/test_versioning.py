"""DVC keeps every snapshot: its md5 names the content, and what is lost here comes back byte for byte."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evermodel.core.errors import SnapshotStoreError, TransientError
from evermodel.core.settings import Settings
from evermodel.data.snapshots.dvc import SnapshotStore
from evermodel.data.snapshots.snapshot import read_snapshot, take_snapshot
from support.small_model import moment, settings_in, small_spec, write_rows


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def store(settings: Settings) -> SnapshotStore:
    return SnapshotStore(settings.lake, settings.dvc_remote)


@pytest.fixture
def file(settings: Settings) -> Path:
    file = settings.lake / "snapshots" / "small" / "a.parquet"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"content of a snapshot")
    return file


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def remote_file(settings: Settings, name: str) -> Path:
    return Path(settings.dvc_remote) / "files" / "md5" / name[:2] / name[2:]


def forget(settings: Settings, *files: Path) -> None:
    shutil.rmtree(settings.lake / ".dvc" / "cache")
    for file in files:
        file.unlink()


def test_tracking_gives_the_md5_and_pushes_the_content(
    settings: Settings, store: SnapshotStore, file: Path
) -> None:
    name = store.track(file)
    assert name == md5(file)
    assert remote_file(settings, name).read_bytes() == file.read_bytes()
    pointer = file.with_name("a.parquet.dvc").read_bytes()
    assert store.track(file) == name
    assert file.with_name("a.parquet.dvc").read_bytes() == pointer


def test_a_snapshot_lost_here_comes_back_byte_for_byte(settings: Settings, tmp_path: Path) -> None:
    spec = small_spec(write_rows(tmp_path / "rows.parquet"))
    taken = take_snapshot(spec, moment(8), settings)
    file = settings.lake / taken.path
    content = file.read_bytes()
    forget(settings, file, Path(spec.source.path))
    assert read_snapshot(taken.path, settings).num_rows == 48
    assert file.read_bytes() == content


def test_a_pointer_that_was_written_half_is_written_again(store: SnapshotStore, file: Path) -> None:
    store.track(file)
    pointer = file.with_name("a.parquet.dvc")
    whole = pointer.read_bytes()
    for left in (b"", b"outs:\n- md5: 1234", b"outs: [", b"outs: []", whole[:-9], b"\xff"):
        pointer.write_bytes(left)
        assert store.track(file) == md5(file), left
        assert pointer.read_bytes() == whole


def test_content_that_the_remote_lost_is_pushed_again(
    settings: Settings, store: SnapshotStore, file: Path
) -> None:
    name = store.track(file)
    shutil.rmtree(settings.dvc_remote)
    forget(settings)
    store.track(file)
    assert remote_file(settings, name).read_bytes() == file.read_bytes()


def test_a_project_that_was_set_up_half_is_set_up_again(
    settings: Settings, store: SnapshotStore, file: Path
) -> None:
    (settings.lake / ".dvc").mkdir()
    assert store.track(file) == md5(file)
    (settings.lake / ".dvc" / "config").unlink()
    assert store.track(file) == md5(file)


def test_a_remote_that_moved_is_followed(settings: Settings, file: Path, tmp_path: Path) -> None:
    SnapshotStore(settings.lake, settings.dvc_remote).track(file)
    moved = settings.model_copy(update={"dvc_remote": str(tmp_path / "moved")})
    name = SnapshotStore(moved.lake, moved.dvc_remote).track(file)
    assert remote_file(moved, name).exists()


@pytest.mark.parametrize("remote", ["/proc/no/folder", "/dev/null/folder", "nosuch://bucket/folder"])
def test_a_remote_that_cannot_be_used_is_a_transient_error(
    settings: Settings, file: Path, remote: str
) -> None:
    with pytest.raises(SnapshotStoreError, match="EVERMODEL_DVC_REMOTE") as caught:
        SnapshotStore(settings.lake, remote).track(file)
    assert remote in caught.value.problem
    assert isinstance(caught.value, TransientError)
    # The next run, with a remote that works, needs no cleaning up.
    assert SnapshotStore(settings.lake, settings.dvc_remote).track(file) == md5(file)


def test_what_the_remote_does_not_have_cannot_come_back(
    settings: Settings, store: SnapshotStore, file: Path
) -> None:
    store.track(file)
    shutil.rmtree(settings.dvc_remote)
    forget(settings, file)
    with pytest.raises(SnapshotStoreError, match="is missing and DVC cannot fetch it"):
        store.restore(file)
    with pytest.raises(SnapshotStoreError, match=r"never\.parquet is missing"):
        store.restore(file.with_name("never.parquet"))


EIGHT = """
import os, sys
from pathlib import Path
import dvc.repo
from evermodel.data.snapshots.dvc import SnapshotStore

lake, remote = map(Path, sys.argv[1:])
folder = lake / "snapshots" / "small"
folder.mkdir(parents=True)
children = []
for number in range(8):
    child = os.fork()
    if child == 0:
        file = folder / f"{number}.parquet"
        file.write_bytes(b"x" * number)
        try:
            print(file.name, SnapshotStore(lake, str(remote)).track(file), flush=True)
        finally:
            os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


@pytest.mark.slow
def test_eight_processes_that_track_at_once_all_succeed(settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EIGHT, str(settings.lake), settings.dvc_remote],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    told = dict(line.split() for line in done.stdout.splitlines() if ".parquet" in line)
    files = sorted((settings.lake / "snapshots" / "small").glob("*.parquet"))
    assert told == {file.name: md5(file) for file in files}, done.stderr[-1000:]
    assert len(files) == 8
    assert all(remote_file(settings, name).exists() for name in told.values())
