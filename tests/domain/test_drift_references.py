from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.data.prediction_log import read_log
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from evermodel.stats.sample import NumericSample
from support.drift_rows import DAY, START, drift_spec, log_day, references, table

END = START + 60 * DAY  # 1 March 2024, a Friday


def _spec(kind: str, **more: Any) -> ModelSpec:
    return drift_spec(["x"], reference={"kind": kind, **more}, window="1d", min_rows=10)


def _values(found: References) -> list[float]:
    side = found.of("x").side
    assert side is not None
    sample = side.sample("x")
    assert isinstance(sample, NumericSample)
    return sorted(set(sample.values.tolist()))


def test_the_training_rows_are_named_by_their_length_and_last_day() -> None:
    found = references(_spec("training"), table({"x": np.arange(600) % 60}, np.arange(600) % 60)).main()

    assert found.words == "training, 60 days until 29 Feb 2024"
    assert found.rows == 600


def test_weekdays_are_those_of_the_window() -> None:
    training = table({"x": np.arange(600) % 60}, np.arange(600) % 60)

    friday = references(_spec("weekday"), training, Window(END, END + DAY))
    weekend = friday.at(Window(END + DAY, END + 3 * DAY))

    assert friday.main().words == "training, Fridays of 60 days until 29 Feb 2024"
    assert _values(friday) == [float(day) for day in range(60) if day % 7 == 4]
    assert weekend.main().words.startswith("training, Saturdays, Sundays of")
    assert _values(weekend) == [float(day) for day in range(60) if day % 7 in (5, 6)]
    assert friday.at(Window(END, END + 7 * DAY)).main().words.startswith("training, 60 days")


def test_a_trailing_reference_has_the_days_before_the_window_and_none_of_it(tmp_path: Path) -> None:
    spec = _spec("trailing", span="7d")
    for day in range(12):
        log_day(spec, tmp_path, END + day * DAY, {"x": [float(day)] * 10})

    window = Window(END + 10 * DAY, END + 11 * DAY)
    found = references(spec, table({"x": [0.0]}), window, tmp_path)

    assert found.main().words == "trailing, 7 days until 10 Mar 2024"
    assert _values(found) == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]


def _yearly(path: Path) -> ModelSpec:
    """A row of every hour of five years; its value is the year."""
    moments = [datetime(2020, 1, 1, tzinfo=UTC) + hour * timedelta(hours=1) for hour in range(24 * 365 * 4)]
    columns = {
        "id": [str(i) for i in range(len(moments))],
        "at": pa.array(moments, pa.timestamp("us", tz="UTC")),
        "x": [float(moment.year * 1000 + moment.timetuple().tm_yday) for moment in moments],
        "late": [0] * len(moments),
    }
    pq.write_table(pa.table(columns), path)
    return drift_spec(
        ["x"],
        reference={"kind": "season", "years": 2, "width": "2d"},
        window="1d",
        min_rows=10,
        sections={"source": {"path": str(path)}},
    )


def test_a_season_is_the_same_weekdays_around_the_same_day_of_earlier_years(tmp_path: Path) -> None:
    spec = _yearly(tmp_path / "rows.parquet")
    window = Window(datetime(2023, 7, 3, tzinfo=UTC), datetime(2023, 7, 4, tzinfo=UTC))  # a Monday

    found = references(spec, table({"x": [0.0]}), window)

    assert found.main().words == "same season of 2021 to 2022, ± 2 days"
    middle = [datetime(2022, 7, 4), datetime(2021, 7, 5)]  # Mondays
    wanted = [
        float((day + offset * DAY).year * 1000 + (day + offset * DAY).timetuple().tm_yday)
        for day in middle
        for offset in (-2, -1, 0, 1, 2)
    ]
    assert _values(found) == sorted(wanted)


def test_a_source_without_earlier_years_has_no_season(tmp_path: Path) -> None:
    spec = _yearly(tmp_path / "rows.parquet")
    window = Window(datetime(2020, 7, 3, tzinfo=UTC), datetime(2020, 7, 4, tzinfo=UTC))

    (column,) = judge_window(spec, references(spec, table({"x": [0.0]}), window), table({"x": [1.0] * 300}))

    assert (column.severity, column.summary) == ("none", "not evaluated: the source has no earlier year")


def test_a_column_may_have_a_reference_of_its_own(tmp_path: Path) -> None:
    spec = drift_spec(
        ["x", "y"], window="1d", by_column={"y": {"reference": {"kind": "trailing", "span": "3d"}}}
    )
    for day in range(4):
        log_day(spec, tmp_path, END + day * DAY, {"x": [1.0] * 50, "y": [9.0] * 50})
    window = Window(END + 3 * DAY, END + 4 * DAY)
    training = table({"x": [1.0] * 500, "y": [1.0] * 500})

    found = judge_window(spec, references(spec, training, window, tmp_path), read_log(spec, tmp_path, window))

    told = {(c.column, c.what): (c.reference, c.severity) for c in found}
    assert told["x", "feature"] == ("training, 60 days until 29 Feb 2024", "none")
    assert told["y", "feature"] == ("trailing, 3 days until 3 Mar 2024", "none")


def test_answers_are_held_against_the_first_days_of_the_same_version(tmp_path: Path) -> None:
    spec = drift_spec(["x"], window="1d", reference={"kind": "training", "span": "4d"}, min_rows=100)
    generator = np.random.default_rng(0)
    for day in range(9):
        version = "1" if day < 3 else "2"
        score = generator.beta(2, 5 if day < 7 else 1, 200)
        log_day(spec, tmp_path, END + day * DAY, {"x": [1.0] * 200}, version=version, score=score)

    def answers(day: int, held_out: pa.Table | None = None) -> tuple[str, str, str]:
        window = Window(END + day * DAY, END + (day + 1) * DAY)
        base = references(spec, table({"x": [1.0] * 500}), window, tmp_path)
        mine = References(spec, window, "2", base.training, base.fitted, base.profiles, held_out)
        found = judge_window(spec, mine, read_log(spec, tmp_path, window))
        (one,) = [c for c in found if c.what == "prediction"]
        return one.reference, one.severity, one.summary

    assert answers(4)[1:] == ("none", "not evaluated: 1 days with predictions of version 2, at least 3")
    assert answers(6)[:2] == ("predictions of version 2, 3 days since its promotion", "none")
    assert answers(8)[:2] == ("predictions of version 2, 4 days since its promotion", "critical")
    held_out = table({"score": generator.beta(2, 5, 1000)})
    assert answers(3, held_out)[:2] == ("held-out predictions of version 2", "none")
    assert answers(7, held_out)[:2] == ("held-out predictions of version 2", "critical")


@pytest.mark.parametrize("cut", [False, True])
def test_parquet_is_read_by_column_and_interval_like_a_table(tmp_path: Path, cut: bool) -> None:
    whole = table({"x": np.arange(600.0), "c": ["a", "b", "c"] * 200}, np.arange(600) % 60)
    files = [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    pq.write_table(whole.slice(0, 250), files[0], row_group_size=100)
    pq.write_table(whole.slice(250), files[1])
    window = Window(START + 10 * DAY, START + 20 * DAY) if cut else None

    rows = ParquetRows(files, window, "at")

    inside = (np.arange(600) % 60 >= 10) & (np.arange(600) % 60 < 20)
    wanted = whole.filter(pa.array(inside)) if cut else whole
    assert rows.num_rows == wanted.num_rows
    assert rows.column_names == whole.column_names
    assert rows["x"].to_pylist() == wanted["x"].to_pylist()
    assert rows["c"].to_pylist() == wanted["c"].to_pylist()
