"""The picture of a drift, and the outbox that keeps messages where there is no Slack."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from evermodel.alerts import outbox
from evermodel.alerts.failure_message import failure_message
from evermodel.alerts.message import Message
from evermodel.alerts.outbox import folder_name, rewrite_in_outbox, write_to_outbox
from evermodel.alerts.outbox_index import outbox_entries, write_index
from evermodel.alerts.plot import drift_plot
from evermodel.monitoring.drift.verdict import Bin, DriftVerdict
from evermodel.monitoring.problems import Severity
from support.verdicts import a_column, a_verdict


def a_message(task: str = "train", error: str = "boom") -> Message:
    return failure_message("flights", "retrain_flights", task, "manual__1", error, "")


def drawn(*bins_of: int, severity: Severity = "critical") -> DriftVerdict:
    columns = tuple(
        a_column(
            column=f"c${number}_^{{x",
            kind="categorical",
            severity=severity,
            bins=tuple(Bin(f"${i} and \\ more", 1 / count, 1 / count) for i in range(count)),
        )
        for number, count in enumerate(bins_of)
    )
    return a_verdict(severity=severity, columns=columns)


@pytest.mark.parametrize("bins_of", [(10, 3, 40, 2, 5), (10,), (0, 60), ()])
@pytest.mark.parametrize("severity", ["critical", "none"])
def test_plot_is_a_png_as_high_as_its_rows_need(
    bins_of: tuple[int, ...], severity: Severity, tmp_path: Path
) -> None:
    import matplotlib.image

    path = drift_plot(drawn(*bins_of, severity=severity), tmp_path / "new" / "drift.png")
    rows = 1 if sum(count > 0 for count in bins_of) <= 2 else 2
    assert matplotlib.image.imread(path).shape[:2] == (675 if rows == 2 else 430, 1200)
    assert [file.name for file in path.parent.iterdir()] == ["drift.png"]


def test_plot_leaves_pyplot_alone(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    drift_plot(drawn(3), tmp_path / "drift.png")
    assert plt.get_fignums() == before


def test_outbox_holds_message_preview_and_image(tmp_path: Path) -> None:
    image = drift_plot(drawn(3), tmp_path / "drift.png")
    message = a_message()
    folder = write_to_outbox(tmp_path / "outbox", message, image, "flights-earlier")
    stored = json.loads((folder / "message.json").read_text(encoding="utf-8"))
    assert stored["blocks"] == message.blocks
    assert (stored["thread"], stored["image"]) == ("flights-earlier", "image.png")
    assert (folder / "image.png").read_bytes() == image.read_bytes()
    page = (folder / "preview.html").read_text(encoding="utf-8")
    assert "flights: train failed" in page
    assert "data:image/png;base64," in page
    assert "in the thread of flights-earlier" in page


def test_same_key_ends_in_one_folder(tmp_path: Path) -> None:
    first = write_to_outbox(tmp_path, a_message(error="one"), None, None)
    again = write_to_outbox(tmp_path, a_message(error="two"), None, None)
    assert first == again
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [first.name]
    assert "two" in (first / "preview.html").read_text(encoding="utf-8")


def test_rewriting_keeps_image_and_thread(tmp_path: Path) -> None:
    image = drift_plot(drawn(3), tmp_path / "drift.png")
    folder = write_to_outbox(tmp_path / "outbox", a_message(), image, "t")
    rewrite_in_outbox(folder, a_message("other", "solved"))
    stored = json.loads((folder / "message.json").read_text(encoding="utf-8"))
    assert (stored["thread"], stored["image"]) == ("t", "image.png")
    assert "solved" in stored["text"]
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, "index.html"}


def test_the_outbox_page_has_threads_and_earlier_states(tmp_path: Path) -> None:
    first = write_to_outbox(tmp_path, a_message(error="<b>one</b>"), None, None)
    for error in ("two", "two", "three"):
        rewrite_in_outbox(first, a_message(error=error))
    answer = write_to_outbox(tmp_path, a_message("reply"), None, first.name)
    other = write_to_outbox(tmp_path, a_message("alone"), None, "gone")
    broken = write_to_outbox(tmp_path, a_message("broken"), None, None)
    (broken / "message.json").write_text("{")
    for place, folder in enumerate((first, other, answer)):
        os.utime(folder / "message.json", (1000 + place, 1000 + place))

    entries = outbox_entries(tmp_path)
    assert [entry.page for entry in entries] == [f"{first.name}/preview.html", f"{other.name}/preview.html"]
    assert [one.page for one in entries[0].answers] == [f"{answer.name}/preview.html"]
    earlier = [(tmp_path / page).read_text(encoding="utf-8") for _, page in entries[0].earlier]
    assert ["&lt;b&gt;one" in earlier[0], "two" in earlier[1], len(earlier)] == [True, True, 2]
    write_index(tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.index(first.name) < page.index(answer.name) < page.index(other.name)
    assert all(shown in page for _, shown in entries[0].earlier)


def test_stopped_halfway_leaves_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(outbox, "preview_html", stop)
    with pytest.raises(KeyboardInterrupt):
        write_to_outbox(tmp_path, a_message(), None, None)
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("one", "other"),
    [("a/b", "a:b"), ("../x", "x"), ("x" * 300, "x" * 301), ("ä", "ö")],
)
def test_names_are_safe_and_never_shared(one: str, other: str, tmp_path: Path) -> None:
    names = [folder_name(a_message(task)) for task in (one, other)]
    assert names[0] != names[1]
    for task in (one, other):
        folder = write_to_outbox(tmp_path, a_message(task), None, None)
        assert folder.parent == tmp_path
        assert folder.is_dir()
