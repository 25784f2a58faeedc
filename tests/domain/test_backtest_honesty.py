from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evermodel.data.sources import read_window
from evermodel.data.sources.files import FilesRelation
from evermodel.pipelines.backtest.history import BacktestHistory, record_history
from evermodel.pipelines.backtest.outcome import PolicyOutcome
from evermodel.pipelines.backtest.plan import make_plan
from evermodel.pipelines.backtest.policies import POLICIES
from evermodel.pipelines.backtest.replay import replay_policy
from evermodel.pipelines.backtest.run import comparison_of, run_backtest
from evermodel.spec.window import Window
from support.backtest_history import START, TURN, history, plan_of, spec_of
from support.event_tables import ON_ENGINES, events_spec, files_of, rows_and_events
from support.event_tables import START as EVENTS_START

EVER = Window(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
DAY = timedelta(days=1)


def known_at(history: BacktestHistory, moment: datetime) -> pa.Table:
    return read_window(history.at(moment).spec, EVER, with_label=True)


def planted(rows: pa.Table, moment: datetime, seed: int) -> pa.Table:
    """Change everything that nobody could know at a moment: later rows, and labels that had not matured."""
    generator = np.random.default_rng(seed)
    times = np.array([at.timestamp() for at in rows["at"].to_pylist()])
    later, open_label = times >= moment.timestamp(), times >= (moment - DAY).timestamp()
    x, hit = rows["x"].to_numpy().copy(), rows["hit"].to_numpy().copy()
    hit[open_label] = generator.integers(0, 2, size=open_label.sum())
    x[later] = hit[later] * 100.0 + generator.normal(size=later.sum())  # a column that gives the answer away
    return rows.set_column(2, "x", pa.array(x)).set_column(4, "hit", pa.array(hit))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hours=st.integers(0, 24 * 20), seed=st.integers(0, 1000))
@pytest.mark.slow
def test_no_planted_future_changes_what_was_known(tmp_path: Path, hours: int, seed: int) -> None:
    moment = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(hours=hours)
    rows = history(weeks=3)
    found = []
    for name, table in (("true", rows), ("planted", planted(rows, moment, seed))):
        file = tmp_path / f"{name}.parquet"
        pq.write_table(table, file)
        found.append(known_at(record_history(spec_of(file), tmp_path / name), moment))
    assert found[0].equals(found[1])
    assert found[0].num_rows == pc.sum(pc.less(rows["at"], moment)).as_py()
    labelled = pc.sum(pc.is_valid(found[0]["hit"])).as_py() or 0
    assert labelled == pc.sum(pc.less(rows["at"], moment - DAY)).as_py()


def versioned(folder: Path) -> BacktestHistory:
    """A source that keeps versions: each row comes without label and leak, gets both, and one label is corrected."""

    def day(n: float) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=n)

    lines = []
    for n in range(4):
        came = day(n)
        lines.append((f"r{n}", came, 1.0, None, None, came + timedelta(minutes=1)))
        lines.append((f"r{n}", came, 1.0, float(n % 2), n % 2, came + DAY - timedelta(minutes=1)))
    lines.append(("r0", day(0), 1.0, 1.0, 1, day(3.5)))  # corrected long after it had matured
    names = ("id", "at", "z", "x", "hit", "written")
    columns = dict(zip(names, zip(*lines, strict=True), strict=True))
    file = folder / "versions.parquet"
    pq.write_table(pa.table({name: pa.array(list(values)) for name, values in columns.items()}), file)
    return record_history(spec_of(file), folder / "history", known="written")


def test_a_label_that_is_edited_later_is_the_old_one_until_then(tmp_path: Path) -> None:
    rows = versioned(tmp_path)
    march = datetime(2026, 3, 1, tzinfo=UTC)
    labels = {}
    for days in (1, 2, 3, 4, 9):
        found = known_at(rows, march + timedelta(days=days))
        labels[days] = dict(zip(found["id"].to_pylist(), found["hit"].to_pylist(), strict=True))
    assert labels[1] == {"r0": None}  # known, but it matures only when a day has passed
    assert labels[2] == {"r0": 0, "r1": None}
    assert labels[3]["r0"] == 0
    assert labels[4]["r0"] == 1
    assert labels[9] == {"r0": 1, "r1": 1, "r2": 0, "r3": 1}


def test_a_column_that_is_filled_in_later_is_empty_when_the_row_is_scored(tmp_path: Path) -> None:
    rows = versioned(tmp_path)
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    known = known_at(rows, noon)
    found = dict(zip(known["id"].to_pylist(), known["x"].to_pylist(), strict=True))
    assert found == {"r0": 0.0, "r1": None}


def replayed(folder: Path, rows: pa.Table, policy: str, **options: Any) -> PolicyOutcome:
    return replay_policy(plan_of(folder, rows, policy, **options), POLICIES[policy])


@pytest.mark.slow
def test_a_planted_future_changes_no_decision_of_a_whole_backtest_before_it_is_known(tmp_path: Path) -> None:
    rows, moment = history(weeks=9), TURN + timedelta(days=14)
    stop = f"{moment:%Y-%m-%d}"
    true, false = (
        replayed(tmp_path / name, table, "on_drift")
        for name, table in (("true", rows), ("false", planted(rows, moment, 1)))
    )

    def until(outcome: PolicyOutcome) -> tuple[Any, ...]:
        retrains = [(r.as_of, r.reason, r.verdict, r.shipped) for r in outcome.retrains if r.as_of <= stop]
        alerts = [alert for alert in outcome.alerts if alert.at <= stop]
        weeks = [
            w
            for w in outcome.weeks
            if datetime.fromisoformat(w.start).replace(tzinfo=UTC) + 8 * DAY <= moment
        ]
        return retrains, alerts, weeks

    assert until(true) == until(false)
    assert until(true)[0]
    assert until(true)[1]
    assert true.weeks[-1] != false.weeks[-1]  # the plant is there


@pytest.mark.slow
def test_a_replay_reads_its_history_alone_and_never_without_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path, history(weeks=7), "weekly")
    (tmp_path / "source.parquet").unlink()
    read: list[tuple[str, str]] = []
    opened = FilesRelation.open

    def spy(self: FilesRelation, *arguments: Any) -> None:
        read.append((self.source.path, self.source.query or ""))
        opened(self, *arguments)

    monkeypatch.setattr(FilesRelation, "open", spy)
    assert replay_policy(plan, POLICIES["weekly"]).retrains
    assert {path for path, _ in read} == {str(plan.history.file)}
    assert all('FROM source WHERE "at" < TIMESTAMPTZ' in query for _, query in read)
    # What came true is read once, when every decision has been made.
    unbounded = ["9000-01-01" in query for _, query in read]
    assert sum(unbounded) == 1
    assert unbounded.index(True) > len([q for _, q in read if f"{START + timedelta(days=7):%Y-%m-%d}" in q])


@pytest.mark.slow
def test_the_same_backtest_again_gives_the_same_result_fresh_kept_or_in_other_processes(
    tmp_path: Path,
) -> None:
    rows, chosen = history(weeks=7), ("never", "weekly")
    here = plan_of(tmp_path / "here", rows, *chosen)
    there = make_plan(here.spec, tmp_path / "there", policies=chosen)
    fresh = comparison_of(here)
    told: list[Any] = []
    elsewhere = run_backtest(there, 2, told.append)

    assert elsewhere.to_json() == fresh.to_json()
    assert elsewhere.digest == fresh.digest == comparison_of(here).digest
    assert told[-1] == {"never": (2, 2), "weekly": (2, 2)}
    assert list((tmp_path / "there").glob("lanes/*/predictions/turning/date=*"))


@pytest.mark.slow
def test_an_ended_backtest_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path, history(weeks=7), "weekly")
    whole = replay_policy(plan, POLICIES["weekly"])
    plan.outcome_file(POLICIES["weekly"]).unlink()

    def refuse(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("this was done before")

    for work in (
        "fits.run_limited",
        "fits.evaluate",
        "policy_simulation.judge_day",
        "policy_simulation.scores_and_classes",
    ):
        monkeypatch.setattr(f"evermodel.pipelines.backtest.{work}", refuse)
    assert replay_policy(plan, POLICIES["weekly"]) == whole


def test_aggregates_of_events_stay_as_they_were_known_at_each_rows_time(tmp_path: Path) -> None:
    spec = events_spec(ON_ENGINES, **files_of(tmp_path, rows_and_events(rows=200, keys=20)))
    whole = read_window(spec, EVER, with_label=True)
    moment = EVENTS_START + timedelta(days=6)
    known = known_at(record_history(spec, tmp_path / "history"), moment)
    names = [aggregate["name"] for aggregate in ON_ENGINES]
    assert known.select(names).equals(whole.filter(pc.less(whole["at"], moment)).select(names))
    assert 50 < known.num_rows < whole.num_rows
