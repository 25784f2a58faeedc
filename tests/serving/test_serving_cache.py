from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evermodel.serving.cache import LastGood, ModelCache


def fill(text: str) -> Callable[[Path], None]:
    def download(folder: Path) -> None:
        (folder / "model").write_text(text)

    return download


def test_a_version_is_downloaded_once(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "m")
    assert (cache.files("3", "runs:/a", fill("first")) / "model").read_text() == "first"
    assert (cache.files("3", "runs:/a", fill("second")) / "model").read_text() == "first"


def test_the_same_number_of_another_registry_is_downloaded_anew(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    cache.files("3", "runs:/a", fill("first"))
    assert (cache.files("3", "runs:/b", fill("second")) / "model").read_text() == "second"


def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def breaks_off(folder: Path) -> None:
        (folder / "model").write_text("half")
        raise OSError("the line is dead")

    cache = ModelCache(tmp_path)
    with pytest.raises(OSError, match="the line is dead"):
        cache.files("3", "runs:/a", breaks_off)
    assert list(tmp_path.iterdir()) == []


def test_the_last_good_version_is_remembered_only_with_its_files(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    assert cache.last_good() is None
    cache.files("3", "runs:/a", fill("x"))
    assert cache.last_good() is None
    cache.mark_good("3", "runs:/a")
    assert ModelCache(tmp_path).last_good() == LastGood("3", "runs:/a")
    cache.forget("3")
    assert cache.last_good() is None
    (tmp_path / "last-good.json").write_text("{half")
    assert cache.last_good() is None


def test_only_the_newest_versions_are_kept(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    for number in range(1, 8):
        cache.files(str(number), "runs:/a", fill("x"))
        cache.mark_good(str(number), "runs:/a")
    cache.files("3", "runs:/a", fill("x"))
    cache.mark_good("3", "runs:/a")
    kept = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert kept == {"3", "4", "5", "6", "7"}
