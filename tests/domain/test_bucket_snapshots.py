"""Snapshots and quarantined rows of a lake in a bucket."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from evermodel.core.errors import SettingsError, SnapshotStoreError, SourceError, UnsafePathError
from evermodel.core.settings import Settings
from evermodel.core.storage import BucketPath, create
from evermodel.data.snapshots.bucket import BucketSnapshots
from evermodel.data.snapshots.snapshot import read_snapshot, take_snapshot
from evermodel.data.validation.quarantine import quarantine, reasons_in
from evermodel.data.validation.rows import RowRule
from support.object_stores import new_s3_bucket, s3_environment
from support.small_model import between, moment, settings_in, small_spec, write_rows

pytestmark = pytest.mark.integration


@pytest.fixture
def lake(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> BucketPath:
    for name, value in s3_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    return new_s3_bucket(s3_endpoint) / "lake"


@pytest.fixture(params=["bucket", "folder"])
def settings(request: pytest.FixtureRequest, lake: BucketPath, tmp_path: Path) -> Settings:
    """A lake in a bucket, with its remote there or in a folder."""
    remote = f"{lake}/dvc" if request.param == "bucket" else str(tmp_path / "remote")
    return settings_in(tmp_path).model_copy(update={"lake": lake, "dvc_remote": remote})


def test_a_snapshot_is_stored_once_and_read_by_its_path(settings: Settings, tmp_path: Path) -> None:
    spec = small_spec(write_rows(tmp_path / "rows.parquet"))
    taken = take_snapshot(spec, moment(8), settings)
    assert take_snapshot(spec, moment(8), settings) == taken
    assert taken.path.startswith("snapshots/small/")
    store = BucketSnapshots(settings.lake, settings.dvc_remote)
    assert str(store.source(taken.path)).endswith(f"/files/md5/{taken.md5[:2]}/{taken.md5[2:]}")
    whole = read_snapshot(taken.path, settings)
    assert whole.num_rows == taken.rows == 48
    part = read_snapshot(taken.path, settings, between(2, 3), "at")
    assert part.num_rows == 8
    with store.local(taken.path) as file:
        assert pq.read_table(file) == whole
    assert not file.exists()
    assert [f.name for f in settings.lake.rglob("*.dvc")] == [f"{taken.digest}.parquet.dvc"]


def test_what_is_missing_or_damaged_is_named(settings: Settings, tmp_path: Path) -> None:
    taken = take_snapshot(small_spec(write_rows(tmp_path / "rows.parquet")), moment(8), settings)
    store = BucketSnapshots(settings.lake, settings.dvc_remote)
    with pytest.raises(SnapshotStoreError, match="has no pointer"):
        read_snapshot("snapshots/small/none.parquet", settings)
    with pytest.raises(UnsafePathError):
        read_snapshot("snapshots/../x", settings)
    store.bring("snapshots/small/again.parquet", taken.md5)
    assert read_snapshot("snapshots/small/again.parquet", settings).num_rows == 48
    content = store.source(taken.path)
    content.unlink()
    with pytest.raises(SnapshotStoreError, match="has no content with md5"):
        store.bring(taken.path, taken.md5)
    assert create(content, b"something else")
    with pytest.raises(SnapshotStoreError, match="has other content for md5"):
        store.bring(taken.path, taken.md5)
    # A write of other length was broken off: the next snapshot of the same rows completes it.
    take_snapshot(small_spec(tmp_path / "rows.parquet"), moment(8), settings)
    store.bring(taken.path, taken.md5)


def test_a_remote_of_another_kind_is_an_error_that_names_the_variable(lake: BucketPath) -> None:
    with pytest.raises(SettingsError, match="EVERMODEL_DVC_REMOTE is ssh://host/dvc"):
        BucketSnapshots(lake, "ssh://host/dvc")


def test_quarantined_rows_are_in_the_bucket_with_their_reasons(lake: BucketPath, tmp_path: Path) -> None:
    file, aside = write_rows(tmp_path / "rows.parquet"), lake / "quarantine" / "small" / "a.parquet"
    rule = RowRule(
        kind="range",
        column="temp",
        name="temp.high",
        broken="temp > 5",
        suspect=True,
        shown="temp",
        severity="quarantine",
        reason="'temp is high'",
    )
    rows = quarantine(file, [rule], aside)
    (reason,) = reasons_in(aside, "at", "id")
    assert (reason.reason, reason.rows) == ("temp is high", rows)
    assert rows > 5
    with pytest.raises(SourceError, match="does not exist"):
        reasons_in(lake / "quarantine" / "small" / "b.parquet", "at", "id")
