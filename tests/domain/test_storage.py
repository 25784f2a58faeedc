"""One contract of the lake's storage, over a folder, an S3 server and Azure's emulator."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.core.atomic import replacing, sweep, write_text
from evermodel.core.errors import SettingsError, StorageError, StorageUnavailableError, UnsafePathError
from evermodel.core.paths import inside
from evermodel.core.storage import (
    BucketPath,
    StoragePath,
    create,
    local_copy,
    readable,
    replace_unchanged,
    storage_path,
    version_of,
)
from evermodel.core.storage.client import store_of
from evermodel.data.parquet import column_ranges
from support import object_stores

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def azure_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with object_stores.azure_server(tmp_path_factory.mktemp("azurite")) as endpoint:
        yield endpoint


@pytest.fixture(params=["folder", "s3", "azure"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoragePath:
    if request.param == "folder":
        return tmp_path / "lake"
    endpoint = request.getfixturevalue(f"{request.param}_endpoint")
    make = {"s3": object_stores.new_s3_bucket, "azure": object_stores.new_azure_container}[request.param]
    environment = getattr(object_stores, f"{request.param}_environment")(endpoint)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return make(endpoint) / "lake"


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> BucketPath:
    for name, value in object_stores.s3_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    return object_stores.new_s3_bucket(s3_endpoint) / "lake"


def test_what_is_written_is_read_listed_and_deleted(lake: StoragePath) -> None:
    for day in ("01", "02"):
        write_text(lake / "log" / "ä b" / f"date=2024-01-{day}" / "x+y.parquet", f"day {day}")
    write_text(lake / "log" / "ä b.txt", "beside")
    file = lake / "log" / "ä b" / "date=2024-01-01" / "x+y.parquet"
    assert (file.read_text(encoding="utf-8"), file.exists(), file.is_file()) == ("day 01", True, True)
    assert (file.name, file.stem, file.parent.name) == ("x+y.parquet", "x+y", "date=2024-01-01")
    assert str(file.relative_to(lake)) == "log/ä b/date=2024-01-01/x+y.parquet"
    assert file.stat().st_size == 6
    folder = lake / "log" / "ä b"
    assert [f.name for f in sorted(folder.glob("date=*"))] == ["date=2024-01-01", "date=2024-01-02"]
    assert [str(f.relative_to(lake)) for f in sorted((lake / "log").glob("*/*-02/[!.]*.parquet"))] == [
        "log/ä b/date=2024-01-02/x+y.parquet"
    ]
    assert len(list((lake / "log").rglob("*.parquet"))) == 2
    assert (folder.is_dir(), (lake / "nothing").is_dir()) == (True, False)
    file.unlink()
    file.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        file.unlink()
    assert not file.exists()
    with pytest.raises(FileNotFoundError):
        file.read_bytes()
    assert list((lake / "nothing").glob("*")) == []


def test_a_write_that_fails_leaves_what_was_there(lake: StoragePath) -> None:
    file = lake / "a.txt"
    write_text(file, "old")
    with pytest.raises(ZeroDivisionError), replacing(file) as temporary:
        _half_written(temporary)
    assert file.read_bytes() == b"old"
    with replacing(file) as temporary:
        temporary.write_bytes(b"n" * 12_000_000)  # an upload of several parts
    assert file.stat().st_size == 12_000_000
    sweep(lake, ".*", older_than=0)
    assert [f.name for f in lake.glob("*")] == ["a.txt"]


def _half_written(file: Path) -> None:
    file.write_text("half")
    raise ZeroDivisionError


def test_of_writers_at_once_one_creates(lake: StoragePath) -> None:
    file, won = lake / "claims" / "x", []
    writers = [
        threading.Thread(target=lambda n=n: won.append(n) if create(file, bytes([n])) else None)
        for n in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert file.read_bytes() == bytes(won)
    assert not create(file, b"late")


def test_a_write_of_a_stale_version_is_refused(lake: StoragePath) -> None:
    file = lake / "state.json"
    assert version_of(file) is None
    write_text(file, "1")
    seen = version_of(file)
    assert seen is not None
    assert replace_unchanged(file, b"2", seen)
    assert not replace_unchanged(file, b"3", seen)
    assert file.read_bytes() == b"2"
    file.unlink()
    assert not replace_unchanged(file, b"4", seen)
    assert not file.exists()


def test_parquet_is_read_by_columns_and_a_copy_has_the_bytes(lake: StoragePath) -> None:
    file = lake / "rows.parquet"
    rows = pa.table({name: [float(n * 7919 % 10007) for n in range(20_000)] for name in "abcd"})
    with replacing(file) as temporary:
        pq.write_table(rows, temporary, row_group_size=5_000, use_dictionary=False, compression="none")
    assert pq.read_metadata(readable(file)).num_rows == 20_000
    assert pq.read_table(readable(file), filters=[("a", "<", 5.0)], partitioning=None).num_rows == 10
    assert pq.ParquetFile(readable(file), memory_map=True).read(["c"])["c"] == rows["c"]
    with local_copy(file) as copy:
        assert pq.read_table(copy) == rows
    assert copy.exists() == isinstance(lake, Path)


def test_names_stay_inside(lake: StoragePath) -> None:
    for name in ("../x", "a//b", "", "/etc", "a/../../b"):
        with pytest.raises(UnsafePathError):
            inside(lake, name)
    assert str(inside(lake, "churn/a.parquet").relative_to(lake)) == "churn/a.parquet"


def test_a_reader_fetches_its_columns_and_little_more(
    bucket: BucketPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, fetched = bucket / "rows.parquet", []
    rows = pa.table({name: [float(n * 7919 % 10007) for n in range(200_000)] for name in "abcd"})
    with replacing(file) as temporary:
        pq.write_table(rows, temporary, row_group_size=50_000, use_dictionary=False, compression="none")
    read = BucketPath.read_range
    monkeypatch.setattr(
        BucketPath, "read_range", lambda self, *ends: fetched.append(ends[1] - ends[0]) or read(self, *ends)
    )
    footer = pq.read_metadata(readable(file))
    column = sum(footer.row_group(group).column(2).total_compressed_size for group in range(4))
    fetched.clear()
    pq.ParquetFile(readable(file), metadata=footer).read(["c"])
    assert column <= sum(fetched) <= column * 1.1
    fetched.clear()
    opened = readable(file, column_ranges(footer, "c", range(4)))
    assert (len(fetched), sum(fetched)) == (4, column)
    assert pq.ParquetFile(opened, metadata=footer).read(["c"])["c"] == rows["c"]
    assert len(fetched) == 4


def test_an_object_that_is_replaced_under_a_reader_is_an_error_and_no_mixture(bucket: BucketPath) -> None:
    file = bucket / "x"
    file.write_bytes(b"first, ")
    opened = readable(file)
    assert opened.read(3) == b"fir"
    file.write_bytes(b"second,")
    with pytest.raises(StorageUnavailableError, match="replaced while it was read"):
        opened.read(3)


def test_a_bucket_that_does_not_exist_is_named(bucket: BucketPath) -> None:
    missing = BucketPath("s3", "nobody-made-this") / "lake"
    for use in (missing.exists, lambda: list(missing.glob("*")), lambda: missing.write_bytes(b"")):
        with pytest.raises(StorageError, match="there is no bucket s3://nobody-made-this"):
            use()


def test_a_store_that_is_away_is_an_error_that_a_retry_may_cure(
    bucket: BucketPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageUnavailableError, match="cannot be reached"):
        (BucketPath("s3", "anywhere") / "x").exists()


def test_without_credentials_it_says_so(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in object_stores.s3_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match="credentials"):
        store_of("s3", "no-credentials")
    profile = tmp_path / "credentials"
    profile.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(profile))
    made = object_stores.new_s3_bucket(s3_endpoint)
    assert list(made.glob("*")) == []


FORKED = """
import os, sys
from evermodel.core.errors import StorageError
from evermodel.core.storage import BucketPath
path = BucketPath("s3", sys.argv[1]) / "x"
path.exists()
if os.fork() == 0:
    try:
        path.exists()
    except StorageError as error:
        os.write(1, str(error).encode())
    os._exit(0)
os.wait()
"""


def test_a_fork_of_a_process_that_uses_a_bucket_is_told_and_does_not_hang(bucket: BucketPath) -> None:
    command = [sys.executable, "-c", FORKED, bucket.bucket]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=dict(os.environ))
    assert "was forked from one that already uses a bucket" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/lake", "no folder and no bucket that can be used"),
        ("s3:/bucket/lake", "no folder and no bucket that can be used"),
        ("s3://", "no folder and no bucket that can be used"),
        ("s3://ada:secret@bucket/lake", "s3://bucket/lake with a login or a query"),
        ("az://container/lake?sig=secret", "az://container/lake with a login or a query"),
        ("s3://bucket/a/../b", "is not a plain path"),
    ],
)
def test_a_url_that_cannot_be_used_is_an_error_at_once(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match="EVERMODEL_LAKE is ") as told:
        storage_path(url, "EVERMODEL_LAKE")
    assert said in str(told.value)
    assert "secret" not in str(told.value)


def test_without_the_package_it_says_which_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evermodel.core.storage.address.is_installed", lambda name: False)
    with pytest.raises(SettingsError, match=r'pip install "evermodel\[gcs\]"'):
        storage_path("gs://bucket/lake", "EVERMODEL_LAKE")


@pytest.mark.parametrize("url", ["s3://bucket/a/lake/", "gs://bucket/a/lake", "azure://bucket/a/lake"])
def test_a_bucket_is_a_place_for_the_lake_and_for_snapshots(url: str, tmp_path: Path) -> None:
    lake = storage_path(url, "EVERMODEL_LAKE")
    assert isinstance(lake, BucketPath)
    assert (lake.bucket, lake.key, str(lake)) == ("bucket", "a/lake", f"{lake.scheme}://bucket/a/lake")
