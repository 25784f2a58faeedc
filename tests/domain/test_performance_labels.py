from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evermodel.core.errors import SourceError
from evermodel.data import day_table
from evermodel.data.day_table import DayTable
from evermodel.data.local_engine import one_engine
from evermodel.monitoring.performance import label_join, label_log
from evermodel.monitoring.performance.label_join import label_quality, read_label_join, spans_of, versions_of
from evermodel.spec.window import Window
from support.performance_log import START, PerformanceWorld, PerformanceWorlds

AS_OF = START + timedelta(days=9)  # labels of the days 0 to 6 have matured


@pytest.fixture
def world(performance_world: PerformanceWorlds) -> PerformanceWorld:
    return performance_world()


def _labels(world: PerformanceWorld, as_of: object = AS_OF) -> dict[str, int]:
    rows = read_label_join(world.spec, world.lake, as_of).rows  # type: ignore[arg-type]
    return dict(zip(rows["prediction_id"].to_pylist(), rows["label"].to_pylist(), strict=True))


def test_only_predictions_whose_labels_are_due_are_joined(world: PerformanceWorld) -> None:
    rows = world.predict(range(10))
    world.label(rows)

    joined = read_label_join(world.spec, world.lake, AS_OF)

    assert (joined.state.predictions, joined.state.labelled) == (700, 700)
    assert joined.rows["event_time"].to_pylist()[-1] < AS_OF - timedelta(days=2)
    known = dict(zip(rows["prediction_id"].to_pylist(), rows["label"].to_pylist(), strict=True))
    assert _labels(world) == {name: known[name] for name in _labels(world)}


def test_labels_that_never_come_are_counted_and_told(world: PerformanceWorld) -> None:
    rows = world.predict(range(-7, 7))
    world.label(rows.slice(0, 700 + 100))

    joined = read_label_join(world.spec, world.lake, AS_OF)

    assert (joined.state.labelled, joined.state.usual_share) == (100, 1.0)
    (line,) = label_quality(world.spec, joined.state)
    assert line == "labels: 14% of 700 due labels have arrived (of the windows before, 100%)"


def test_without_any_label_the_join_is_empty_and_says_so(world: PerformanceWorld) -> None:
    rows = world.predict(range(7))
    world.label(rows, pa.nulls(700, pa.int8()))

    joined = read_label_join(world.spec, world.lake, AS_OF)

    assert joined.rows.num_rows == 0
    assert label_quality(world.spec, joined.state) == ("labels: 0% of 700 due labels have arrived",)


def test_of_labels_that_come_twice_the_last_counts_and_contradictions_are_counted(
    world: PerformanceWorld,
) -> None:
    rows = world.predict(range(7))
    later = pa.array(
        [t + timedelta(hours=1) for t in rows["event_time"].to_pylist()], pa.timestamp("us", "UTC")
    )
    again = rows.set_column(1, "event_time", later).slice(0, 30)
    other = 1 - np.asarray(again["label"])
    labels = np.concatenate([other[:10], np.asarray(again["label"])[10:]]).astype(np.int8)
    again = again.set_column(again.column_names.index("label"), "label", pa.array(labels))
    world.label(pa.concat_tables([again, rows]))

    state = read_label_join(world.spec, world.lake, AS_OF).state

    assert (state.twice, state.conflicting, state.labelled) == (30, 10, 700)
    found = _labels(world)
    assert [found[f"0-{i}"] for i in range(10)] == other[:10].tolist()


def test_a_changed_label_counts_from_the_next_look_on_and_an_old_day_keeps_its_answer(
    world: PerformanceWorld,
) -> None:
    rows = world.predict(range(7))
    world.label(rows)
    before = _labels(world)
    labels = np.asarray(rows["label"]).copy()
    labels[600:650] = 1 - labels[600:650]
    world.label(rows.slice(0, 690), labels[:690])  # ten are withdrawn, fifty changed

    tomorrow = read_label_join(world.spec, world.lake, AS_OF + timedelta(days=1))

    assert (tomorrow.state.changed, tomorrow.state.withdrawn) == (50, 10)
    now = _labels(world, AS_OF + timedelta(days=1))
    assert now["6-0"] == labels[600] != before["6-0"]
    assert "6-99" not in now
    assert _labels(world) == before
    assert read_label_join(world.spec, world.lake, AS_OF).state.changed == 0
    assert read_label_join(world.spec, world.lake, AS_OF + timedelta(days=2)).state.changed == 0


def _stored(world: PerformanceWorld) -> dict[str, dict[str, float | None]]:
    """Return the table of labels by reading, as another program reads it."""
    from deltalake import DeltaTable

    found: dict[str, dict[str, float | None]] = {}
    table = DeltaTable(str(world.lake / "labels" / world.spec.name))
    for row in pa.table(table.to_pyarrow_table()).to_pylist():
        reading = found.setdefault(row["source"], {})
        assert row["prediction_id"] not in reading
        reading[row["prediction_id"]] = row["label"]
    return found


def test_labels_are_a_table_that_other_programs_read(world: PerformanceWorld) -> None:
    rows = world.predict(range(7))
    world.label(rows)
    first = _labels(world)
    labels = np.asarray(rows["label"]).copy()
    labels[600] = 1 - labels[600]
    world.label(rows.slice(0, 699), labels[:699])
    _labels(world, AS_OF + timedelta(days=1))

    assert _stored(world) == {
        f"{AS_OF:%Y-%m-%dT%H%M%S}": {name: float(label) for name, label in first.items()},
        f"{AS_OF + timedelta(days=1):%Y-%m-%dT%H%M%S}": {"6-0": float(labels[600]), "6-99": None},
    }


def test_a_reading_is_kept_once_whoever_is_killed_or_comes_at_the_same_time(
    world: PerformanceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.label(world.predict(range(7)))
    commit = DayTable.commit

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    def answer_lost(*arguments: Any) -> None:
        commit(*arguments)
        raise KeyboardInterrupt

    for instead in (killed, answer_lost):
        with monkeypatch.context() as patch:
            patch.setattr(DayTable, "commit", instead)
            with pytest.raises(KeyboardInterrupt):
                _labels(world)
    assert len(_labels(world)) == 700
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: _labels(world, AS_OF + timedelta(days=1)), range(2))
    assert one == other

    assert [len(reading) for reading in _stored(world).values()] == [
        700
    ]  # the other reading found nothing new
    assert len(DayTable(world.lake / "labels" / world.spec.name).files()) == 2


def test_a_commit_whose_answer_is_lost_is_not_made_again(
    world: PerformanceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deltalake import DeltaTable

    world.label(world.predict(range(7)))
    commit = DayTable.commit

    def planned_again(*arguments: Any) -> Any:
        commit(*arguments)
        return commit(*arguments)

    monkeypatch.setattr(DayTable, "commit", planned_again)
    assert len(_labels(world)) == 700
    assert DeltaTable(str(world.lake / "labels" / world.spec.name)).version() == 1  # the first one made it


def test_files_of_labels_of_earlier_releases_are_read_and_become_part_of_the_table(
    world: PerformanceWorld,
) -> None:
    rows = world.predict(range(7))
    world.label(rows)
    before = _labels(world)
    folder = world.lake / "labels" / world.spec.name
    (file,) = folder.glob("date=*/source=*/*.parquet")
    stored = file.read_bytes()
    shutil.rmtree(folder)
    day_table._read.clear()  # what this process knows of the table that is gone
    folder.mkdir()
    (folder / f"as_of={AS_OF:%Y-%m-%dT%H%M%S}.parquet").write_bytes(stored)
    world.label(rows.slice(601, 99))  # the old day is not read again

    assert _labels(world) == before
    assert not (folder / "_delta_log").exists()
    assert len(_labels(world, AS_OF + timedelta(days=1))) == 99
    assert sorted(len(reading) for reading in _stored(world).values()) == [601, 700]
    assert _labels(world) == before


def test_a_prediction_that_is_logged_twice_counts_once_as_the_later_version_answered(
    world: PerformanceWorld,
) -> None:
    from evermodel.data.prediction_log import files_of, write_plain_day

    rows = world.predict(range(7), version="9")
    world.label(rows)
    log = rows.drop_columns(["label"]).slice(0, 100)
    twin = log.set_column(2, "model_version", pa.array(["10"] * 100)).slice(0, 40)
    write_plain_day(world.spec, world.lake, f"{START:%Y-%m-%d}", pa.concat_tables([twin, log]))
    assert len(files_of(world.spec, world.lake, Window(START, START + timedelta(days=1)))) == 1

    joined = read_label_join(world.spec, world.lake, AS_OF)

    assert (joined.state.predictions, joined.state.logged_twice) == (700, 40)
    assert versions_of(joined.rows) == (("9", 660 / 700), ("10", 40 / 700))


def test_scores_that_are_missing_or_no_number_are_left_out_and_told(world: PerformanceWorld) -> None:
    from evermodel.data.prediction_log import write_plain_day

    rows = world.predict(range(7))
    world.label(rows)
    scores = rows["score"].to_pylist()[:100]
    scores[:3] = [None, float("nan"), float("inf")]
    day = rows.drop_columns(["label"]).slice(0, 100).set_column(3, "score", pa.array(scores))
    write_plain_day(world.spec, world.lake, f"{START:%Y-%m-%d}", day)

    state = read_label_join(world.spec, world.lake, AS_OF).state

    assert (state.labelled, state.unusable) == (697, 3)
    assert label_quality(world.spec, state) == ("3 predictions have no usable score",)


def test_a_label_that_is_no_label_is_an_error(world: PerformanceWorld) -> None:
    rows = world.predict(range(7))
    world.label(rows, pa.array([7] * 700))
    with pytest.raises(SourceError, match="0/1"):
        read_label_join(world.spec, world.lake, AS_OF)


def test_a_clock_change_loses_and_doubles_nothing(performance_world: PerformanceWorlds) -> None:
    """On 29 March 2026 Berlin has no hour from 2 to 3; the day is still counted from midnight to midnight UTC."""
    world = performance_world()
    days = range(80, 87)  # 26 March to 1 April
    rows = world.predict(days, per_day=1440)
    berlin = rows.set_column(1, "event_time", rows["event_time"].cast(pa.timestamp("us", "Europe/Berlin")))
    world.label(berlin)

    joined = read_label_join(world.spec, world.lake, START + timedelta(days=89))

    assert joined.state.labelled == 7 * 1440
    assert [part.num_rows for part in spans_of(joined.rows).values()] == [1440] * 7


def test_small_tables_are_joined_as_large_ones(
    performance_world: PerformanceWorlds, monkeypatch: pytest.MonkeyPatch
) -> None:
    def joined(small: bool) -> tuple[object, ...]:
        for module in (label_join, label_log):
            monkeypatch.setattr(module, "SMALL_ROWS", 1_000_000 if small else 0)
        world = performance_world()
        rows = world.predict(range(-7, 10))
        world.label(rows.slice(0, 1000))
        with one_engine():
            found = read_label_join(world.spec, world.lake, AS_OF)
        return found.rows, found.before, found.state

    assert joined(small=True) == joined(small=False)
