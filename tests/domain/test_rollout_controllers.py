"""The controllers against simulated traffic whose truth is known; seeds are fixed, looks are many."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.simulations.callers import Callers, called, last_verdict
from tests.simulations.rollout_traffic import NEW, OLD, START, Played, Traffic, Truth, begun, play

from evermodel.deployment.rollout import ab_test, bandit, blue_green, canary, shadow
from evermodel.deployment.rollout.evidence import Distribution, Evidence, Smoke
from evermodel.deployment.rollout.strategies import CONTROLLERS
from evermodel.registry.serving_heartbeats import VersionCounts
from evermodel.registry.traffic_plan import everything_to, split
from evermodel.spec.rollout import RolloutSpec
from evermodel.stats.sequential import Moments, above, below, larger_part

SPEC = RolloutSpec()
MINUTES, DAY = timedelta(minutes=5), timedelta(days=1)
BUSY = Traffic(2000, MINUTES)
LOOK = START + MINUTES


def many(strategy: str, new: Truth, times: int, traffic: Traffic = BUSY, **options: Any) -> list[Played]:
    rng = np.random.default_rng(7)
    return [
        play(strategy, SPEC, {OLD: Truth(), NEW: new}, traffic, rng, timedelta(days=2), **options)
        for _ in range(times)
    ]


@pytest.mark.parametrize("bad", [Truth(errors=0.03), Truth(errors=0.2), Truth(slow=3.0)])
def test_a_bad_canary_goes_back_in_its_first_step_before_the_exposure_limit_in_every_run(bad: Truth) -> None:
    for played in many("canary", bad, 100):
        assert (played.state, len(played.plans)) == ("rolled_back", 2), played.why
        assert played.exposed < SPEC.guard.max_exposed / 2
        assert played.plans[-1].arms == everything_to(OLD)


def test_a_canary_with_worse_answers_goes_back_once_labels_have_matured_within_the_step() -> None:
    spec = RolloutSpec.model_validate({"canary": {"bake": "2d"}, "guard": {"max_exposed": 50_000}})
    rng = np.random.default_rng(3)
    traffic = Traffic(4000, timedelta(hours=1), timedelta(hours=3))
    for _ in range(20):
        played = play("canary", spec, {OLD: Truth(), NEW: Truth(noise=0.04)}, traffic, rng, timedelta(days=5))
        assert played.state == "rolled_back"
        assert played.why.startswith("quality: brier")


def test_a_good_canary_passes_every_step() -> None:
    played = many("canary", Truth(slow=1.2), 100)
    promoted = [one for one in played if one.state == "promoted"]
    assert len(promoted) >= 100 * SPEC.guard.confidence
    shares = [plan.share_of(NEW) for plan in promoted[0].plans]
    assert shares == [0.05, 0.25, 0.5, 1.0]


def test_a_canary_without_enough_requests_goes_back_at_its_longest() -> None:
    (played,) = many("canary", Truth(), 1, Traffic(1, timedelta(hours=1)))
    assert (played.state, played.looks) == ("rolled_back", 48)
    assert "not passed within the longest time: requests" in played.why


def test_a_canary_that_can_neither_pass_nor_break_stops_at_the_exposure_limit() -> None:
    spec = RolloutSpec.model_validate({"guard": {"min_requests": 2000, "max_exposed": 500}})
    played = play("canary", spec, {OLD: Truth(), NEW: Truth()}, BUSY, np.random.default_rng(0))
    assert (played.state, played.exposed) == ("rolled_back", 500)
    assert played.why.startswith("not passed within the limit of 500 answers")


@pytest.mark.slow
def test_an_ab_test_of_equals_looked_at_daily_is_called_at_most_at_its_error_rate() -> None:
    times, days, rows = 1000, 28, 100
    rng = np.random.default_rng(11)
    plan = begun("ab_test", SPEC).changed(step=1)
    called = 0
    for _ in range(times):
        draws = (rng.random((2, days, rows)) < 0.3).astype(float) * 0.8 + 0.1
        losses = [np.cumsum(draws[arm].sum(axis=1)) for arm in range(2)]
        squares = [np.cumsum((draws[arm] ** 2).sum(axis=1)) for arm in range(2)]
        for day in range(days):
            n = rows * (day + 1)
            means = [losses[arm][day] / n for arm in range(2)]
            spreads = [(squares[arm][day] - n * means[arm] ** 2) / (n - 1) for arm in range(2)]
            known = {version: Moments(n, means[arm], spreads[arm]) for arm, version in enumerate((OLD, NEW))}
            verdict = ab_test.decide(SPEC, plan, Evidence(losses=known), START + DAY * (day + 1))
            if verdict.move != "stay":
                called += "no result in time" not in verdict.why
                break
    most = SPEC.ab_test.error_rate
    assert called <= times * most + 2 * math.sqrt(times * most * (1 - most))


def test_an_ab_test_finds_the_better_version_and_the_worse_one() -> None:
    rng, traffic = np.random.default_rng(5), Traffic(600, DAY, DAY)
    better = [
        play("ab_test", SPEC, {OLD: Truth(noise=0.03), NEW: Truth()}, traffic, rng).state for _ in range(30)
    ]
    worse = [play("ab_test", SPEC, {OLD: Truth(), NEW: Truth(noise=0.03)}, traffic, rng) for _ in range(30)]
    assert better.count("promoted") >= 27
    assert all(played.state == "rolled_back" for played in worse)
    assert sum("is worse" in played.why for played in worse) >= 27


def test_an_ab_test_of_equals_whose_callers_return_holds_its_error_rate_by_drawing_subjects() -> None:
    callers, times = Callers(number=500, requests=600, correlation=0.3), 25
    most = SPEC.ab_test.error_rate
    rate = called("ab_test", callers, times, seed=5, days=20)
    assert rate <= most + 2 * math.sqrt(most * (1 - most) / times)
    assert called("ab_test", callers, times, seed=5, days=20, by_subject=False) > 0.3, "requests alone"
    assert called("ab_test", replace(callers, worse=0.4), 10, seed=6, days=20) >= 0.9


def test_an_ab_test_of_few_callers_says_that_they_are_too_few() -> None:
    callers = Callers(number=80, requests=600, worse=2.0)
    verdict = last_verdict("ab_test", callers, np.random.default_rng(1), days=28)
    assert verdict.move == "roll_back"
    assert "no result in time" in verdict.why
    assert "subjects, too few: 100 of each version are needed" in verdict.why


def test_a_bandit_s_shares_that_change_in_a_season_do_not_favour_the_worse_version() -> None:
    callers, rng = Callers(number=2000, season=2.0, worse=0.1), np.random.default_rng(3)
    moves = [last_verdict("bandit", callers, rng, days=14).move for _ in range(60)]
    assert "promote" not in moves
    assert moves.count("roll_back") >= 50


@pytest.mark.parametrize("worse", [OLD, NEW])
def test_the_bandit_asks_the_worse_version_less_often_than_a_fixed_split(worse: str) -> None:
    truths = {version: Truth(noise=0.03 if version == worse else 0.0) for version in (OLD, NEW)}
    rng, traffic, days = np.random.default_rng(2), Traffic(600, DAY, 2 * DAY), 28
    played = [play("bandit", SPEC, truths, traffic, rng, days * DAY) for _ in range(30)]
    shares = [one.answers[worse] / sum(one.answers.values()) for one in played]
    assert np.mean(shares) + 2 * np.std(shares) / math.sqrt(30) < 0.4  # of a fixed split one half
    assert np.mean([one.state == "promoted" for one in played]) == pytest.approx(float(worse == OLD), abs=0.1)


def test_the_bandit_keeps_the_floor_and_moves_only_when_it_pays() -> None:
    plan = replace(begun("bandit", SPEC), step=3, limit=None, arms=split(OLD, NEW, 0.5))
    spec = SPEC.model_copy(update={"bandit": SPEC.bandit.model_copy(update={"decided": 0.9999})})
    known = {OLD: Moments(5000, 0.20, 0.04), NEW: Moments(5000, 0.21, 0.04)}
    verdict = bandit.decide(spec, plan, Evidence(losses=known), LOOK)
    assert verdict.plan is not None
    assert (verdict.move, verdict.plan.share_of(NEW)) == ("next", pytest.approx(0.05))
    assert bandit.decide(spec, verdict.plan, Evidence(losses=known), LOOK).move == "stay"


def test_blue_green_switches_everything_after_its_smoke_test_and_back_in_one_step() -> None:
    plan = begun("blue_green", SPEC)
    assert (plan.arms, plan.warm) == (everything_to(OLD), (NEW,))
    smoke = Evidence(counts={OLD: VersionCounts(9000, 9, {"0.1": 9000, "+Inf": 9000})})
    smoke = replace(smoke, smoke=Smoke(500, "", 1.0, 1.0))

    switch = blue_green.decide(SPEC, plan, smoke, LOOK)

    assert (switch.move, switch.plan is None) == ("promote", False)
    after = switch.plan
    assert after is not None
    assert (after.champion, after.arms, after.warm) == (NEW, everything_to(NEW), (OLD,))
    fine = Evidence({NEW: VersionCounts(1000, 1, {"0.1": 1000, "+Inf": 1000})}, baseline=smoke.of(OLD))
    assert blue_green.decide(SPEC, after, fine, LOOK + MINUTES).move == "stay"
    assert blue_green.decide(SPEC, after, fine, LOOK + timedelta(hours=1)).move == "promote"
    failing = replace(fine, counts={NEW: VersionCounts(1000, 90)})
    back = blue_green.decide(SPEC, after, failing, LOOK + MINUTES)
    assert (back.move, back.why.split(":")[0]) == ("roll_back", "back to version 1")


@pytest.mark.parametrize(
    ("smoke", "why"),
    [
        (Smoke(3, "row 2 is no number", 1.0, 1.0), "row 2 is no number"),
        (Smoke(9, "", 5.0, 1.0), "5 ms a row"),
    ],
)
def test_blue_green_never_switches_when_the_smoke_test_fails(smoke: Smoke, why: str) -> None:
    plan = begun("blue_green", SPEC)
    verdict = blue_green.decide(SPEC, plan, Evidence(smoke=smoke), LOOK)
    assert (verdict.move, why in verdict.why) == ("roll_back", True)


def test_a_shadow_is_promoted_when_it_agrees_and_goes_back_when_it_does_not() -> None:
    plan = begun("shadow", SPEC)
    assert (plan.arms, plan.shadow) == (everything_to(OLD), 1.0)
    end, close = START + DAY, Distribution(2000, 0.1)

    def decided(when: Any, apart: Distribution | None = close, **counts: Any) -> str:
        evidence = Evidence({NEW: VersionCounts(**counts)}, distribution=apart)
        return shadow.decide(SPEC, plan, evidence, when).move

    assert decided(LOOK, shadows=2000, agreeing=1950) == "stay"
    assert decided(end, shadows=2000, agreeing=1950) == "promote"
    assert decided(LOOK, shadows=2000, agreeing=1500) == "roll_back"
    assert decided(LOOK, shadows=2000, agreeing=1900, shadow_errors=100) == "roll_back"
    assert decided(end, shadows=50, agreeing=50) == "stay"
    assert decided(end + DAY, shadows=50, agreeing=50) == "roll_back"
    shifted = Distribution(2000, 0.3)
    assert decided(end, shifted, shadows=2000, agreeing=1950) == "roll_back"
    for unknown in (None, Distribution(50, 0.3)):
        assert decided(end, unknown, shadows=2000, agreeing=1950) == "stay", "too few answers were logged"


def test_direct_promotes_at_once() -> None:
    assert CONTROLLERS["direct"].decide(SPEC, begun("direct", SPEC), Evidence(), START).move == "promote"


def test_a_version_that_fails_more_than_the_champion_goes_back_below_the_limit_too() -> None:
    counts = {OLD: VersionCounts(9500, 5), NEW: VersionCounts(500, 7)}  # 1.4 %, the limit is 2 %
    verdict = canary.decide(SPEC, begun("canary", SPEC), Evidence(counts), LOOK)
    assert (verdict.move, "the champion 5 of 9,500" in verdict.why) == ("roll_back", True)
    outage = {OLD: VersionCounts(9500, 150), NEW: VersionCounts(500, 8)}  # both: nobody's fault
    assert canary.decide(SPEC, begun("canary", SPEC), Evidence(outage), LOOK).move == "stay"


@pytest.mark.slow
def test_the_sequential_tests_err_at_most_at_their_level_though_looked_at_after_every_request() -> None:
    rng, n = np.random.default_rng(4), np.arange(1, 1501)
    proof = math.log(1 / 0.05)
    hits = np.cumsum(rng.random((300, 1500)) < 0.02, axis=1)
    assert (above(hits, n, 0.02) >= proof).any(axis=1).mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)
    assert (below(hits, n, 0.02) >= proof).any(axis=1).mean() <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 300)
    others = np.cumsum(rng.random((300, 1500)) < 0.02 * 19, axis=1)  # a champion with 19 times the traffic
    assert (larger_part(hits, others, 0.05) >= proof).any(axis=1).mean() <= 0.076


def test_a_last_step_waits_for_enough_requests_of_the_champion_to_compare_response_times_with() -> None:
    spec = RolloutSpec.model_validate({"canary": {"steps": [0.9], "bake": "5min"}})
    plan = begun("canary", spec)

    def move(champion: int, slow: int = 0, requests: int = 1000, of: Any = plan, by: Any = spec) -> str:
        new = VersionCounts(requests, 0, {"0.01": requests - slow, "1": requests, "+Inf": requests})
        old = VersionCounts(champion, 0, {"0.01": champion, "+Inf": champion})
        return canary.decide(by, of, Evidence({NEW: new, OLD: old}), LOOK).move

    assert move(150, slow=900) == "stay", "nine of ten answers took a second, and nothing is compared yet"
    assert (move(200), move(200, slow=900)) == ("promote", "roll_back")
    assert move(150, requests=9_900) == "promote", "the step has to end, and there is no more to come"
    steep = RolloutSpec.model_validate({"canary": {"steps": [0.99], "bake": "5min"}})
    assert move(10, of=begun("canary", steep), by=steep) == "promote", "10,000 answers bring the champion 101"
    alone = replace(plan, arms=split(OLD, NEW, 1.0))
    assert move(0, of=alone) == "promote"


@pytest.mark.slow
def test_a_good_version_is_seldom_sent_back_for_errors_however_often_the_bandit_moves() -> None:
    rng, n, runs, steps = np.random.default_rng(6), np.arange(1, 401), 60, 60
    spec = RolloutSpec.model_validate({"guard": {"confidence": 0.8}})
    plan, limit = begun("bandit", spec), SPEC.guard.max_error_rate
    assert limit is not None
    sent_back = np.zeros(runs, dtype=bool)
    for step in range(steps):
        hits = np.cumsum(rng.random((runs, 400)) < limit, axis=1)
        worst = np.argmax(above(hits, n, limit), axis=1)
        for run in range(runs):
            counts = {NEW: VersionCounts(int(n[worst[run]]), int(hits[run, worst[run]]))}
            at = replace(plan, step=step, limit=None)
            sent_back[run] |= bandit.decide(spec, at, Evidence(counts), LOOK).move == "roll_back"
    level = 1 - spec.guard.confidence
    assert sent_back.mean() <= level + 2 * math.sqrt(level * (1 - level) / runs)
