"""Windows of minutes, hours, days and weeks in a model's own time zone, and how often hourly looks are wrong."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.errors import SpecError
from evermodel.data.foreign_log import collect
from evermodel.monitoring.drift.history import QuietHistory
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.verdict import window_rows
from evermodel.monitoring.watched_model import watched_model
from evermodel.spec.window import Window, drift_window, look_moment, looks, parse_moment
from support.foreign_log import ForeignModel, day, foreign_rows

BERLIN = "Europe/Berlin"  # clocks go forward on 29 March 2026 at 2:00, and back on 25 October at 3:00


def model_of(folder: Path, database: str, *, window: str = "1d", **watch: Any) -> ForeignModel:
    model = ForeignModel(folder, database)
    model.spec_data["watch"] |= watch
    model.spec_data["drift"] |= {"window": window}
    return model


@pytest.mark.parametrize(
    ("every", "zone", "moment", "expected"),
    [
        ("1d", "UTC", "2026-03-30T04:00", "2026-03-30T00:00"),
        ("1d", BERLIN, "2026-03-28T23:30", "2026-03-28T23:00"),  # the first half hour of Sunday
        ("1d", BERLIN, "2026-03-29T22:30", "2026-03-29T22:00"),  # and of Monday, an hour earlier
        ("1w", BERLIN, "2026-04-01T12:00", "2026-03-29T22:00"),
        ("6h", BERLIN, "2026-03-29T05:30", "2026-03-29T04:00"),  # 6:00 in summer
        ("6h", BERLIN, "2026-03-29T03:59", "2026-03-28T23:00"),
        ("1h", BERLIN, "2026-10-25T00:30", "2026-10-25T00:00"),  # clocks show 2:30
        ("1h", BERLIN, "2026-10-25T01:30", "2026-10-25T01:00"),  # and show it again
        ("15min", "Asia/Kathmandu", "2026-05-01T00:20", "2026-05-01T00:15"),
        ("1h", "Asia/Kathmandu", "2026-05-01T00:20", "2026-05-01T00:15"),  # 6:00 there
    ],
)
def test_windows_end_by_the_local_clock(
    tmp_path: Path, database: str, every: str, zone: str, moment: str, expected: str
) -> None:
    spec = model_of(tmp_path, database, every=every, timezone=zone).spec
    assert look_moment(spec, moment) == parse_moment(expected)
    assert look_moment(spec, look_moment(spec, moment)) == parse_moment(expected)


def test_a_day_of_23_or_25_hours_is_a_day(tmp_path: Path, database: str) -> None:
    spec = model_of(tmp_path, database, window="1d", timezone=BERLIN).spec
    spring, autumn = (
        drift_window(spec, look_moment(spec, m)) for m in ("2026-03-30T05:00", "2026-10-26T05:00")
    )
    assert [(w.end - w.start) // timedelta(hours=1) for w in (spring, autumn)] == [23, 25]
    week = model_of(tmp_path, database, window="7d", timezone=BERLIN).spec
    assert drift_window(week, look_moment(week, "2026-04-01")).start == parse_moment("2026-03-24T23:00")
    hours = model_of(tmp_path, database, window="6h", timezone=BERLIN).spec
    assert hours.drift.window == timedelta(hours=6)
    assert drift_window(hours, parse_moment("2026-03-29T04:00")).start == parse_moment("2026-03-28T22:00")


@pytest.mark.parametrize("every", ["7min", "5h", "2d", "25h", "1min"])
def test_what_divides_neither_hour_nor_day_is_refused(tmp_path: Path, database: str, every: str) -> None:
    with pytest.raises(SpecError, match="evaluated every 1w, 1d, or part of a day"):
        _ = model_of(tmp_path, database, every=every).spec


def test_verdicts_of_local_days_know_the_days_before(tmp_path: Path, database: str) -> None:
    model = model_of(tmp_path, database, timezone="America/New_York")
    model.write(foreign_rows(range(50), per_day=60))
    spec, lake = model.spec, model.settings.lake
    as_of = look_moment(spec, day(49.5))
    assert as_of == day(49) + timedelta(hours=5)
    collect(spec, lake, day(0), as_of)

    champion = watched_model(spec, lake, as_of)
    assert champion.fitted == Window(day(0) + timedelta(hours=5), day(28) + timedelta(hours=5))
    references = champion.references(spec, lake, as_of)
    history = QuietHistory(references).learn()
    found = judge_window(spec, references, window_rows(spec, lake, as_of), history=history)

    assert {c.severity for c in found} == {"none"}
    (amount,) = [c for c in found if (c.column, c.what) == ("amount", "feature")]
    assert amount.basis.startswith("learnt from 48 quiet windows")
    profile = references.profiles.day((day(10)).date())
    assert profile is not None
    assert profile.rows == 60  # a local day: the end of one of UTC, and the beginning of the next


def seasonal_rows(days: int, per_hour: int, seed: int) -> pa.Table:
    """Return a log in which every hour differs from the others, and days differ a little among themselves."""
    generator = np.random.default_rng(seed)
    hours = np.repeat(np.arange(days * 24), per_hour)
    of_day = np.repeat(generator.normal(0, 0.05, days), 24 * per_hour)
    level = 1.5 * np.sin(2 * np.pi * (hours % 24) / 24) + of_day
    rows = len(hours)
    seconds = hours * 3600 + np.tile(np.arange(per_hour) * (3600 // per_hour), days * 24)
    times = [day(0) + timedelta(seconds=int(s)) for s in seconds]
    amount, age = generator.normal(level, 1), generator.normal(0, 1, rows)
    return pa.table(
        {
            "request": [str(n) for n in range(rows)],
            "asked_at": pa.array(times, pa.timestamp("us", tz="UTC")),
            "probability": 1 / (1 + np.exp(-amount - age)),
            "release": ["7"] * rows,
            "amount": amount,
            "age": age,
            "colour": generator.choice(["red", "blue"], rows, p=[0.3, 0.7]),
            "came_true": (generator.random(rows) < 0.5).astype(np.int8),
        }
    )


def test_hourly_looks_hold_the_stated_rate_per_look_and_find_a_shift(tmp_path: Path, database: str) -> None:
    """16 looks of two days at 5 %: more than 4 alarms have a chance below 1 %. Hours differ by far more than any band."""
    model = model_of(tmp_path, database, window="1h", every="1h", timezone=BERLIN)
    model.spec_data["drift"] |= {"min_rows": 50, "false_alarm_rate": 0.05}
    rows = seasonal_rows(38, 60, seed=4)
    model.write(rows)
    spec, lake = model.spec, model.settings.lake
    collect(spec, lake, day(0), day(38))

    def judged(as_of: datetime) -> set[str]:
        champion = watched_model(spec, lake, as_of)
        references = champion.references(spec, lake, as_of)
        history = QuietHistory(references).learn()
        found = judge_window(spec, references, window_rows(spec, lake, as_of), history=history)
        return {c.column for c in found if c.severity != "none"}

    looks = [look_moment(spec, day(36) + timedelta(hours=number, minutes=5)) for number in range(1, 49, 3)]
    alarms = [bool(judged(as_of)) for as_of in looks]
    assert sum(alarms) <= 4

    shifted = rows.set_column(4, "amount", pa.array(np.asarray(rows["amount"]) + 1.5))
    model.write(pa.concat_tables([rows.slice(0, 37 * 24 * 60), shifted.slice(37 * 24 * 60)]))
    collect(spec, lake, day(0), day(38))
    assert "amount" in judged(look_moment(spec, day(37.5)))


def test_a_backfill_evaluates_each_window_once_and_goes_on_where_it_was(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(tmp_path, database, window="7d")
    model.write(pa.concat_tables([foreign_rows(range(40)), foreign_rows(range(40, 44), shift=2.0)]))
    _ = model.spec
    for name, value in {"HOME": "home", "LAKE": "lake", "MODELS": "models"}.items():
        monkeypatch.setenv(f"EVERMODEL_{name}", str(tmp_path / value))

    def called(*words: str) -> Any:
        result = CliRunner().invoke(app, ["watch", "backfill", "churn", *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    first = json.loads(called("--from", f"{day(38):%Y-%m-%d}", "--to", f"{day(40):%Y-%m-%d}", "--json"))
    assert [line["window_end"] for line in first] == [day(number).isoformat() for number in (38, 39, 40)]
    rest = called("--from", f"{day(38):%Y-%m-%d}", "--to", f"{day(44):%Y-%m-%d}")
    assert "churn: 4 windows evaluated, " in rest
    assert "critical" in rest
    assert model.run(44).history.until()[0].end == day(44).isoformat()
    # As single looks would have had it.
    kept = [(one.end, one.severity, one.facts["severities"]) for one in model.run(44).history.until()]
    again = model.run(42).judge()
    assert (again.end, again.severity) == kept[2][:2]


def test_looks_pass_the_nights_in_which_clocks_change(tmp_path: Path, database: str) -> None:
    for every, autumn in (("6h", 4), ("1h", 25), ("1d", 1)):
        spec = model_of(tmp_path, database, every=every, timezone=BERLIN).spec
        night = (parse_moment("2026-10-24T22:00"), parse_moment("2026-10-25T22:59"))
        assert len(list(looks(spec, *night))) == autumn
        whole = list(looks(spec, parse_moment("2026-03-28"), parse_moment("2026-11-01")))
        assert whole == sorted(set(whole))
