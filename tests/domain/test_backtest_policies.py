from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from evermodel.core.errors import SpecError
from evermodel.pipelines.backtest.compare import PolicyComparison
from evermodel.pipelines.backtest.policies import POLICIES, policies_named
from evermodel.pipelines.backtest.run import comparison_of, write_report
from evermodel.pipelines.backtest.text import findings, result_rows
from support.backtest_history import START, TURN, history, plan_of, spec_of

pytestmark = pytest.mark.slow  # whole backtests


@pytest.fixture(scope="module")
def turned(tmp_path_factory: pytest.TempPathFactory) -> PolicyComparison:
    plan = plan_of(tmp_path_factory.mktemp("turned"), history(), "never", "weekly", "on_drift")
    return comparison_of(plan)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> PolicyComparison:
    plan = plan_of(tmp_path_factory.mktemp("calm"), history(turn=None, weeks=8), "never", "weekly")
    return comparison_of(plan)


def outcome(comparison: PolicyComparison, policy: str) -> Any:
    return next(one for one in comparison.outcomes if one.policy == policy)


def standing(comparison: PolicyComparison, policy: str) -> Any:
    return next(one for one in comparison.standings if one.policy == policy)


def test_until_the_world_turns_all_policies_are_as_good(turned: PolicyComparison) -> None:
    for one in turned.outcomes:
        before = [week.value for week in one.weeks if week.start < f"{TURN:%Y-%m-%d}"]
        assert len(before) == 2
        assert min(before) > 0.85


def test_after_it_the_policies_that_retrain_recover_and_the_other_does_not(turned: PolicyComparison) -> None:
    last = {one.policy: one.weeks[-1].value for one in turned.outcomes}
    assert last["never"] < 0.6
    assert last["weekly"] > 0.8
    assert last["on_drift"] > 0.8
    assert standing(turned, "weekly").gain > 0.1
    assert standing(turned, "on_drift").gain > 0.1


def test_drift_asks_for_no_retrain_before_it_is_there(turned: PolicyComparison) -> None:
    tried = outcome(turned, "on_drift").retrains
    assert tried[0].as_of == f"{TURN + timedelta(days=7):%Y-%m-%d}"
    assert "drift" in tried[0].reason
    assert 1 <= len(tried) < len(outcome(turned, "weekly").retrains)


def test_people_hear_of_the_drift_once_and_not_before(turned: PolicyComparison) -> None:
    opened = [one for one in outcome(turned, "never").alerts if one.kind == "drift" and one.action == "open"]
    assert [one.at for one in opened] == [f"{TURN + timedelta(days=7):%Y-%m-%d}"]
    assert outcome(turned, "never").opened >= 2  # performance falls too, when the labels come


def test_where_nothing_changes_retraining_is_not_shown_to_help(calm: PolicyComparison) -> None:
    assert standing(calm, "weekly").verdict == "no difference shown"
    assert abs(standing(calm, "weekly").gain) < 0.02
    assert "do not show" in findings(calm)[0] or "did not help" in findings(calm)[0]
    assert calm.thriftiest.policy == "never"


def test_weeks_in_which_retraining_hurt_are_told(calm: PolicyComparison) -> None:
    weekly = outcome(calm, "weekly")
    assert weekly.shipped > 0
    first = weekly.weeks[0].champions[-1]
    assert weekly.exchanges
    assert len(weekly.exchanges) == sum(week.champions[-1] != first for week in weekly.weeks)
    for one in weekly.exchanges:
        assert one.low <= one.gain <= one.high
        assert one.champion > one.replaced
    hurt = sum(one.gain < 0 for one in weekly.exchanges)
    (said,) = [sentence for sentence in findings(calm) if sentence.startswith("weekly: ")]
    assert (f"in {hurt} of {len(weekly.exchanges)} weeks" in said) == bool(hurt)
    assert result_rows(calm)[1][-2].startswith(f"{hurt} of {len(weekly.exchanges)}")


def test_promotions_are_compared_by_day_with_what_they_replaced(
    calm: PolicyComparison, turned: PolicyComparison
) -> None:
    for comparison in (calm, turned):
        weekly, standing_of = outcome(comparison, "weekly"), standing(comparison, "weekly")
        assert 0 < len(weekly.promotions) <= weekly.shipped
        for one in weekly.compared:
            weeks = [e for e in weekly.exchanges if e.champion == one.version]
            assert one.rows == sum(e.rows for e in weeks)
            assert one.replaced == weeks[0].replaced
            if len(weeks) == 1:  # the mean of days is near that of the week
                assert one.gain == pytest.approx(weeks[0].gain, abs=0.05)
        assert standing_of.promotions_hurt == sum(p.gain < -p.margin for p in weekly.compared)
        assert standing_of.promotions_proved <= standing_of.promotions_hurt
        assert standing_of.promotions_hurt / standing_of.promotions < standing_of.hurt_at_most <= 1
        assert "at most" in result_rows(comparison)[1][-1]
    # When the world has turned, the version that learnt the new one gains far more than the margin.
    assert max(one.gain for one in outcome(turned, "weekly").compared) > 0.3


def test_the_report_shows_every_policy_and_loads_nothing(turned: PolicyComparison, tmp_path: Path) -> None:
    files = write_report(turned, tmp_path)
    page = files.page.read_text(encoding="utf-8")
    assert all(name in page for name in ("never", "weekly", "on_drift", turned.digest))
    assert "http" not in page.replace("http-equiv", "")
    assert files.plot.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("policy", "days", "due"),
    [
        ("weekly", 7, True),
        ("weekly", 8, False),
        ("monthly", 21, False),
        ("monthly", 28, True),
        ("never", 28, False),
    ],
)
def test_the_calendar_of_a_policy(policy: str, days: int, due: bool, tmp_path: Path) -> None:
    now = START + timedelta(days=days)
    spec = spec_of(tmp_path / "none.parquet")
    assert POLICIES[policy].due(spec, START, now - timedelta(days=1), now) is due


def test_the_spec_s_own_policy_follows_its_schedule(tmp_path: Path) -> None:
    declared, day = POLICIES["as_declared"], timedelta(days=1)
    mondays = spec_of(tmp_path / "none.parquet", schedule={"retrain": "0 6 * * 1"})
    assert declared.due(mondays, START, START + 6 * day, START + 7 * day)
    assert not declared.due(mondays, START, START + 5 * day, START + 6 * day)
    assert declared.due(mondays, START, START, START + 7 * day)
    unscheduled = spec_of(tmp_path / "none.parquet", schedule={"retrain": None})
    assert not declared.due(unscheduled, START, START, START + 70 * day)


def test_each_policy_listens_to_its_own_kind_of_problem(tmp_path: Path) -> None:
    spec = spec_of(tmp_path / "none.parquet", retrain={"when": "never"}, respond={"category": "auto"})
    drift, decay = (POLICIES[name].asking(spec) for name in ("on_drift", "on_decay"))
    assert (drift.respond.feature, drift.respond.category, drift.respond.performance) == (
        "auto",
        "auto",
        "alert",
    )
    assert (decay.respond.feature, decay.respond.category, decay.respond.performance) == (
        "alert",
        "alert",
        "auto",
    )
    assert drift.retrain.when == decay.retrain.when == "critical"
    assert POLICIES["as_declared"].asking(spec) == spec


def test_a_policy_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(SpecError, match="hourly") as error:
        policies_named(["hourly"])
    assert "weekly_ungated" in error.value.advice


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": "2026-03-14"}, "no whole week"),
        ({"end": "2026-02-05"}, "no whole week"),
        ({"start": "soon"}, "soon is not a day"),
        ({"step": timedelta(days=93)}, "not a number of days up to a quarter"),
        ({"step": timedelta(hours=36)}, "not a number of days up to a quarter"),
    ],
)
def test_days_that_do_not_fit_are_told(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=said):
        plan_of(tmp_path, history(weeks=9), "never", **options)


def test_a_backtest_covers_whole_weeks_up_to_the_labels_that_are_known(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, history(weeks=8), "never")
    assert plan.start == START
    assert plan.end == START + timedelta(days=21)  # the last day's labels have not come
    sooner = plan_of(tmp_path, history(weeks=8), "never", end="2026-02-16")
    assert sooner.end == START + timedelta(days=14)
