"""A name that becomes part of a path stays in the folder that it belongs to, wherever it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evermodel.core.errors import UnsafePathError
from evermodel.core.paths import inside
from evermodel.core.settings import Settings
from evermodel.data.prediction_log import plain_file
from evermodel.data.snapshots.dvc import SnapshotStore, snapshot_file
from evermodel.data.snapshots.snapshot import read_snapshot
from evermodel.data.sources.partitions import folder_of
from evermodel.monitoring.performance.baseline import rows_file
from evermodel.registry.serving_folder import reports_in_files, served_in_files
from evermodel.registry.training_data import checkout
from evermodel.serving.cache import LastGoodState, ModelCache
from evermodel.serving.desired_state import DesiredState
from evermodel.spec.load import load_spec
from support.small_model import moment, settings_in, small_spec

WILD = [
    "..",
    "../x",
    "a/../../x",
    "/etc/passwd",
    "C:\\x",
    "c:x",
    "\\\\host\\share\\x",
    "..\\x",
    "a\0b",
    "",
    ".",
    "a//b",
    "a" * 256,
]


def _tagged(path: str, md5: str = "0" * 32) -> Any:
    tags = {"evermodel.snapshot": path, "evermodel.snapshot_md5": md5}
    version = SimpleNamespace(name="small", version="1", tags=tags)
    return SimpleNamespace(get_model_version=lambda model, number: version)


def _cache_of(settings: Settings) -> ModelCache:
    return ModelCache(settings.home / "cache")


# Each way in: what a name is given to.
ENTRANCES: dict[str, Callable[[Settings, str], object]] = {
    "snapshot of a tag": lambda s, name: checkout(_tagged(f"snapshots/{name}"), "small", "1", s),
    "snapshot of a call": lambda s, name: read_snapshot(f"snapshots/{name}", s),
    "content of a tag": lambda s, name: SnapshotStore(s.lake, "none").bring("snapshots/a", f"aa{name}"),
    "source days of a model": lambda s, name: folder_of(name, s.lake),
    "day of the log": lambda s, name: plain_file(small_spec("small.parquet"), s.lake, f"x/{name}"),
    "reports of a model": lambda s, name: list(reports_in_files(s.lake, name)),
    "answers of a model": lambda s, name: list(served_in_files(s.lake, name)),
    "test rows of a version": lambda s, name: rows_file(small_spec("small.parquet"), f"x/{name}/1", s.lake),
    "version of the cache": lambda s, name: _cache_of(s).files(name, "runs:/a", lambda folder: {}),
    "cached version": lambda s, name: _cache_of(s).cached(name, "runs:/a"),
    "spec of a model": lambda s, name: load_spec(f"{name}/x", s),
}


@pytest.mark.parametrize("name", WILD, ids=[repr(name)[:20] for name in WILD])
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_no_entrance_lets_a_name_out(entrance: str, name: str, tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    with pytest.raises(UnsafePathError):
        ENTRANCES[entrance](settings, name)
    assert not list(tmp_path.rglob("x"))


@pytest.mark.parametrize("path", ["partitions/a", "a.parquet", "/snapshots/a", ""])
def test_the_path_of_a_snapshot_is_one_of_a_snapshot(path: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafePathError):
        snapshot_file(tmp_path, path)


def test_a_link_does_not_lead_out(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "lake" / "partitions"
    outside.mkdir()
    folder.mkdir(parents=True)
    (outside / "keep").write_text("x")
    (folder / "model").symlink_to(outside)
    (folder / "own").symlink_to(folder)
    with pytest.raises(UnsafePathError, match="leads out"):
        folder_of("model", tmp_path / "lake")
    assert inside(folder, "own/a") == folder / "own" / "a"
    linked = tmp_path / "linked"
    linked.symlink_to(folder)  # the folder itself is where its owner put it
    assert inside(linked, "a") == linked / "a"


def test_forget_removes_nothing_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from evermodel.cli import app

    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERMODEL_LAKE", str(tmp_path / "lake"))
    kept = tmp_path / "lake" / "snapshots" / "keep.parquet"
    kept.parent.mkdir(parents=True)
    kept.write_text("x")
    folder_of("small", tmp_path / "lake").mkdir(parents=True)
    assert CliRunner().invoke(app, ["data", "forget", "../snapshots"]).exit_code != 0
    assert kept.exists()


def test_a_report_that_names_another_file_deletes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "serving" / "reports" / "small"
    folder.mkdir(parents=True)
    kept = tmp_path / "keep.json"  # three folders above: <lake>/serving/reports/small
    kept.write_text("{}")
    at = moment(0).isoformat()
    report = {"model": "small", "instance": "../../../keep", "environment": "test", "host": "h", "pid": 1}
    text = json.dumps({**report, "since": at, "at": at, "version": None, "counts": {}, "shares": {}})
    (folder / "a.json").write_text(text)
    assert list(reports_in_files(tmp_path / "serving", "small")) == []
    assert kept.exists()


def test_a_note_of_the_cache_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / ".origin").write_text("runs:/a")
    cache = ModelCache(tmp_path / "cache")
    cache.folder.mkdir()
    cache.mark_good(LastGoodState(DesiredState("../outside"), {"../outside": "runs:/a"}))
    assert cache.last_good() is None
    cache.forget("../outside")
    assert (tmp_path / "outside" / ".origin").exists()


@given(st.lists(st.text(max_size=300), min_size=1, max_size=3))
def test_whatever_is_joined_is_inside_or_refused(names: list[str]) -> None:
    folder = Path("/tmp/no-such-folder")
    try:
        path = inside(folder, *names)
    except UnsafePathError:
        return
    assert path.resolve().is_relative_to(folder.resolve())
    assert ".." not in path.parts
