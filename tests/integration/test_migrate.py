"""What an earlier release kept in a folder moves to a bucket or a folder and a database: each item once, whoever is killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evermodel.alerts.publisher import message_queue
from evermodel.cli import app
from evermodel.core.errors import SettingsError
from evermodel.core.settings import Settings
from evermodel.core.storage import StoragePath
from evermodel.data import table_takeover
from evermodel.data.compaction import compact
from evermodel.data.day_table import DayTable
from evermodel.data.snapshots.store import snapshot_store
from evermodel.pipelines import migrate
from evermodel.pipelines.migrate import Migration
from evermodel.registry.serving_reports import ServingReports
from evermodel.spec.window import parse_moment
from support.object_stores import new_s3_bucket, s3_environment
from support.paths import PROJECT
from support.prediction_logs import log_rows

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
ARCHIVE = PROJECT / "tests" / "data" / "stored" / "343607a.tar.xz"


class Killed(BaseException):
    """Ends the process, as far as the code can tell."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    with tarfile.open(ARCHIVE) as stored:
        stored.extractall(folder, filter="data")
    return folder / "world"


@pytest.fixture
def old(archive: Path, tmp_path: Path) -> Path:
    """The lake of the earlier release, of its smaller model alone."""
    lake = tmp_path / "old"
    shutil.copytree(archive / "lake", lake)
    for folder in lake.glob("*/flights"):
        shutil.rmtree(folder)
    for day in sorted((lake / "predictions" / "plain").glob("date=2013-*"))[4:]:
        shutil.rmtree(day)
    shutil.rmtree(lake / "partitions")
    return lake


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return new_settings(tmp_path / "new", tmp_path / "new" / "lake")


def new_settings(folder: Path, lake: StoragePath) -> Settings:
    environment = {
        "EVERMODEL_HOME": str(folder / "home"),
        "EVERMODEL_LAKE": str(lake),
        "EVERMODEL_DATABASE": f"sqlite:///{folder}/evermodel.db",
        "EVERMODEL_MODELS": str(folder),
    }
    return Settings.from_environment(environment)


def content(folder: Path) -> dict[str, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def plain_rows(lake: Path, model: str) -> Counter[str]:
    import pyarrow.parquet as pq

    files = (lake / "predictions" / model).rglob("*.parquet")
    return Counter(
        key for file in files for key in pq.read_table(file, partitioning=None)["prediction_id"].to_pylist()
    )


def rows(lake: StoragePath, model: str) -> Counter[str]:
    return Counter(log_rows(lake, model)["prediction_id"].to_pylist())


def queued(settings: Settings) -> list[str]:
    queue = message_queue(settings)
    return [entry.key for place in queue.destinations() for _, entry in queue.waiting(place)]


def test_a_folder_moves_to_a_bucket_and_stays_as_it_is(
    archive: Path, tmp_path: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    source, bucket = archive / "lake", new_s3_bucket(s3_endpoint)
    before = content(source)
    settings = new_settings(tmp_path, bucket / "lake")
    lost = source / "snapshots" / "flights" / "45f936437faa31ed.parquet"

    dry = {moved.kind: moved for moved in Migration(source, settings).found()}
    assert dry["predictions"].items == len(list((source / "predictions").rglob("*.parquet")))
    assert dry["snapshots"].size > 10_000
    assert list(bucket.rglob("*")) == []
    assert not (tmp_path / "evermodel.db").exists()

    done = {moved.kind: moved for moved in Migration(source, settings).run()}
    assert [moved.left for moved in done.values() if moved.left] == []
    assert all(moved.moved == moved.items for moved in done.values()), done
    assert content(source) == before
    for model in ("flights", "plain"):
        assert DayTable(settings.lake / "predictions" / model).exists()
        assert rows(settings.lake, model) == plain_rows(source, model)
        assert set(ServingReports.of(settings).served(model)) == {"1", "2"}
        assert len(ServingReports.of(settings).read(model).gone) >= 1
        assert content_of(settings.lake / "labels" / model) == content(source / "labels" / model)
    with snapshot_store(settings).local("snapshots/flights/45f936437faa31ed.parquet") as file:
        assert file.read_bytes() == lost.read_bytes()
    assert len(queued(settings)) == 1

    again = {moved.kind: moved for moved in Migration(source, settings).run()}
    assert {kind: moved.moved for kind, moved in again.items() if kind != "serving"} == dict.fromkeys(
        again.keys() - {"serving"}, 0
    )
    assert len(queued(settings)) == 1
    assert rows(settings.lake, "plain") == plain_rows(source, "plain")


def content_of(folder: StoragePath) -> dict[str, bytes]:
    return {str(file).removeprefix(f"{folder}/"): file.read_bytes() for file in folder.rglob("*")}


def _killing(function: Callable[..., Any], at: list[int], after: bool) -> Callable[..., Any]:
    def call(*arguments: Any, **more: Any) -> Any:
        at[0] -= 1
        if at[0] == 0 and not after:
            raise Killed
        done = function(*arguments, **more)
        if at[0] == 0:
            raise Killed
        return done

    return call


def _interrupted(source: Path, settings: Settings, number: int, after: bool) -> bool:
    """Migrate, killed before or after the n-th thing that is written; tell whether there was such a thing."""
    at = [number]
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (table_takeover, "place"),
            (table_takeover, "write_text"),
            (migrate, "write_text"),
        ):
            patch.setattr(module, name, _killing(getattr(module, name), at, after))
        patch.setattr(DayTable, "commit", _killing(DayTable.commit, at, after))
        patch.setattr(ServingReports, "served", _killing(ServingReports.served, at, after))
        try:
            Migration(source, settings).run()
        except Killed:
            return True
    return False


def test_killed_anywhere_each_item_is_moved_once(old: Path, tmp_path: Path) -> None:
    expected, number = plain_rows(old, "plain"), 0
    for number in range(1, 200, 3):
        folder = tmp_path / f"new-{number}"
        settings = new_settings(folder, folder / "lake")
        killed = _interrupted(old, settings, number, after=False)
        _interrupted(old, settings, 2, after=True)
        done = Migration(old, settings).run()
        assert [moved.left for moved in done if moved.left] == []
        assert rows(settings.lake, "plain") == expected, f"killed before write {number}"
        assert queued(settings) == queued(settings)[:1]
        for kind in ("labels", "profiles", "promises", "snapshots"):
            assert content(folder / "lake" / kind) == {
                name: data for name, data in content(old / kind).items() if not name.endswith(".lock")
            }
        shutil.rmtree(folder)
        if not killed:
            break
    assert number > 20


def test_a_killed_process_is_gone_on_with(old: Path, settings: Settings, tmp_path: Path) -> None:
    environment = {
        "EVERMODEL_LAKE": str(settings.lake), "EVERMODEL_DATABASE": settings.database_url,
        "EVERMODEL_HOME": str(settings.home), "PATH": "/usr/bin:/bin",
    }  # fmt: skip
    command = [sys.executable, "-m", "evermodel.cli", "migrate", str(old), "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    assert isinstance(settings.lake, Path)
    while process.poll() is None and not list(settings.lake.rglob("*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    Migration(old, settings).run()
    assert rows(settings.lake, "plain") == plain_rows(old, "plain")
    assert len(queued(settings)) == 1


def test_what_the_new_installation_has_stays_and_is_named(old: Path, settings: Settings) -> None:
    Migration(old, settings).run()
    assert isinstance(settings.lake, Path)
    label = next((settings.lake / "labels" / "plain").glob("*.parquet"))
    label.write_bytes(b"another")
    table = DayTable(settings.lake / "predictions" / "plain")
    compact(table, parse_moment("2030-01-01").date())
    before = rows(settings.lake, "plain")

    done = {moved.kind: moved for moved in Migration(old, settings).run()}

    assert done["labels"].left == [f"{label} has other content, which stays"]
    assert done["predictions"].moved == 0
    assert rows(settings.lake, "plain") == before
    assert label.read_bytes() == b"another"


def test_a_day_that_is_scored_already_is_not_added(old: Path, settings: Settings) -> None:
    day = sorted((old / "predictions" / "plain").glob("date=2013-*"))[0]
    target = settings.lake / "predictions" / "plain" / day.name / "source=batch" / "part-1.parquet"
    assert isinstance(target, Path)
    target.parent.mkdir(parents=True)
    shutil.copy(day / "batch.parquet", target)
    table = DayTable(settings.lake / "predictions" / "plain")
    from evermodel.data.table_file import TableFile

    file = TableFile(target, parse_moment(day.name.removeprefix("date=")).date(), "batch")
    table.replace(file, file.schema())

    done = {moved.kind: moved for moved in Migration(old, settings).run()}

    assert done["predictions"].left == [f"{day}/batch.parquet: {table.root} has rows of that day, which stay"]
    assert rows(settings.lake, "plain") == plain_rows(old, "plain")


def test_the_command_shows_what_it_would_do_first(
    old: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERMODEL_LAKE", str(settings.lake))
    monkeypatch.setenv("EVERMODEL_DATABASE", settings.database_url)
    monkeypatch.setenv("EVERMODEL_HOME", str(settings.home))
    (old / "messages" / "broken").mkdir()
    (old / "messages" / "broken" / "lane.json").write_text("{")
    dry = CliRunner().invoke(app, ["migrate", str(old), "--dry-run"])
    assert (dry.exit_code, "predictions" in dry.output, "(dry run)" in dry.output) == (0, True, True)
    assert not Path(str(settings.lake)).exists()
    done = CliRunner().invoke(app, ["migrate", str(old), "--json"])
    kinds = {kind["kind"]: kind for kind in json.loads(done.stdout)["kinds"]}
    assert kinds["messages"]["left"] == [f"{old}/messages/broken/unreadable/lane.json: it cannot be read"]
    shown = CliRunner().invoke(app, ["migrate", str(old)])
    assert "take" in shown.output
    assert isinstance(settings.lake, Path)
    with pytest.raises(SettingsError, match="is read as it is"):
        Migration(settings.lake, settings)
