"""A file that is written is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from evermodel.core.atomic import replacing, write_text


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "made" / "on the way" / "file.txt"
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
        assert temporary.name.startswith(".")
    assert [p.name for p in target.parent.iterdir()] == ["file.txt"]
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_half_way_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    target = tmp_path / "file.txt"
    write_text(target, "old")

    def fail() -> None:
        with replacing(target) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file.txt", "old")]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    with replacing(target) as first, replacing(target) as second:
        first.write_text("first")
        second.write_text("second")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("file.txt", "first")]


def test_text_is_written_as_utf_8(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "Zürich ✓\n")
    assert (tmp_path / "file.txt").read_bytes() == "Zürich ✓\n".encode()
