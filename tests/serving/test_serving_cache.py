from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from evermodel.registry.model_files import hash_files
from evermodel.serving.cache import LastGoodState, ModelCache
from evermodel.serving.desired_state import DesiredState


def fill(text: str) -> Callable[[Path], dict[str, str]]:
    def download(folder: Path) -> dict[str, str]:
        (folder / "model").write_text(text)
        return hash_files(folder)

    return download


def good(version: str, **others: str) -> LastGoodState:
    return LastGoodState(DesiredState(version), {version: "runs:/a", **others})


def test_a_version_is_downloaded_once(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "m")
    assert (cache.files("3", "runs:/a", fill("first")) / "model").read_text() == "first"
    assert (cache.files("3", "runs:/a", fill("second")) / "model").read_text() == "first"


def test_the_same_number_of_another_registry_is_downloaded_anew(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    cache.files("3", "runs:/a", fill("first"))
    assert (cache.files("3", "runs:/b", fill("second")) / "model").read_text() == "second"


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def breaks_off(folder: Path) -> dict[str, str]:
        (folder / "model").write_text("half")
        raise OSError("the line is dead")

    cache = ModelCache(tmp_path)
    with pytest.raises(OSError, match="the line is dead"):
        cache.files("3", "runs:/a", breaks_off)
    assert [path.name for path in tmp_path.iterdir()] == [".lock-3"]


def test_what_answered_last_is_remembered_only_with_its_files(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    assert cache.last_good() is None
    cache.files("3", "runs:/a", fill("x"))
    assert cache.last_good() is None
    cache.mark_good(good("3", **{"4": "runs:/b"}))
    assert ModelCache(tmp_path).last_good() == good("3")  # version 4 has no files
    cache.forget("3")
    assert cache.last_good() is None
    (tmp_path / "last-good.json").write_text("{half")
    assert cache.last_good() is None


def test_what_an_earlier_release_remembered_is_understood(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    cache.files("3", "runs:/a", fill("x"))
    (tmp_path / "last-good.json").write_text('{"version": "3", "origin": "runs:/a"}')
    assert cache.last_good() == good("3")


def test_only_the_newest_versions_and_those_in_use_are_kept(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    cache.files("1", "runs:/a", fill("x"))
    for number in range(2, 8):
        cache.files(str(number), "runs:/a", fill("x"))
        cache.mark_good(good(str(number), **{"1": "runs:/a"}))
    kept = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert kept == {"1", "4", "5", "6", "7"}


def test_of_many_that_want_a_version_at_once_one_downloads_it(tmp_path: Path) -> None:
    downloads: list[Path] = []
    gate = threading.Barrier(4)

    def download(folder: Path) -> dict[str, str]:
        downloads.append(folder)
        time.sleep(0.05)
        return fill("x")(folder)

    def want() -> str:
        gate.wait(10)
        return (ModelCache(tmp_path).files("3", "runs:/a", download) / "model").read_text()

    with ThreadPoolExecutor(4) as threads:
        assert [found.result(10) for found in [threads.submit(want) for _ in range(4)]] == ["x"] * 4
    assert len(downloads) == 1


def test_what_a_killed_process_left_is_no_version_and_is_cleared_away(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from evermodel.serving.cache import ModelCache\n"
        "def download(folder):\n"
        "    (folder / 'model').write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
        "ModelCache(Path(sys.argv[1])).files('3', 'runs:/a', download)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    cache = ModelCache(tmp_path)
    assert len(list(tmp_path.glob(".download-*"))) == 1
    cache.mark_good(good("3"))
    assert cache.last_good() is None
    assert (cache.files("3", "runs:/a", fill("whole")) / "model").read_text() == "whole"
    assert list(tmp_path.glob(".download-*")) == []


def test_what_was_left_of_other_versions_is_cleared_away_unless_it_is_in_work(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    for name in (".download-1-aa", ".trash-2-bb", ".download-4-cc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text("half")
    with (tmp_path / ".lock-4").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cache.files("3", "runs:/a", fill("x"))
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"3", ".download-4-cc"}
