"""Rollouts: how often each strategy's controller errs, how many answers a bad version gives, and what waiting costs."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from tests.simulations.rollout_traffic import NEW, OLD, Played, Traffic, Truth, play

from benchmarks.outcome import Outcome
from evermodel.deployment.rollout.evidence import Smoke
from evermodel.spec.rollout import RolloutSpec

SPEC = RolloutSpec()
MINUTES, DAY = timedelta(minutes=5), timedelta(days=1)
BUSY = Traffic(2000, MINUTES)
DAILY = Traffic(600, DAY, 2 * DAY)
BAD = {
    "3 % errors (limit 2 %)": Truth(errors=0.03),
    "10 % errors": Truth(errors=0.10),
    "response times x 2.5 (limit 2)": Truth(slow=2.5),
    "response times x 3": Truth(slow=3.0),
}
GOOD = {
    "as good as the champion": Truth(),
    "a third slower": Truth(slow=1.3),
    "twice the errors, 0.2 %": Truth(errors=0.002),
}


def run(small: bool) -> Outcome:
    """Play every strategy against traffic whose truth is known."""
    times = 20 if small else 1000
    began, rng = time.process_time(), np.random.default_rng(20260302)
    rows = [
        *_canaries(max(times // 4, 20), rng),
        *_quality(max(times // 10, 10), rng),
        *_ab_tests(times, rng),
        *_bandits(max(times // 4, 10), rng),
        *_switches(max(times // 10, 10), rng),
    ]
    figures = {f"{row[0]}, {row[1]}: {name}": value for row in rows for name, value in row[2].items()}
    table = [[row[0], row[1], row[3]] for row in rows]
    figures["cpu_seconds"] = time.process_time() - began
    ratios = {
        "bandit: fixed split's answers of the worse version / ours": figures[
            "bandit, challenger better: regret_ratio"
        ]
    }
    return Outcome(
        peer="a fixed split",
        ratios=ratios,
        figures=figures,
        header=("strategy", "truth", "found"),
        rows=table,
        notes=(
            f"{max(times // 4, 20):,} canaries and {times:,} A/B tests of each kind; looks every 5 minutes (2,000 requests each) and daily "
            "(600 requests, labels two days later).",
        ),
    )


def _canaries(times: int, rng: np.random.Generator) -> list[Any]:
    rows: list[Any] = []
    for name, truth in {**BAD, **GOOD}.items():
        played = [
            play("canary", SPEC, {OLD: Truth(), NEW: truth}, BUSY, rng, timedelta(days=3))
            for _ in range(times)
        ]
        back = _share(played, "rolled_back")
        exposed = [one.exposed for one in played if one.state == "rolled_back"] or [0]
        looks = np.mean([one.looks for one in played])
        said = (
            f"rolled back {back:.1%}, answers it gave: mean {np.mean(exposed):,.0f}, most {max(exposed):,}; "
            f"{5 * looks:.0f} minutes"
        )
        found = {
            "rolled_back": back,
            "most_answers": float(max(exposed)),
            "mean_answers": float(np.mean(exposed)),
        }
        rows.append(("canary", name, found, said))
    return rows


def _quality(times: int, rng: np.random.Generator) -> list[Any]:
    spec = RolloutSpec.model_validate({"canary": {"bake": "2d"}, "guard": {"max_exposed": 50_000}})
    traffic = Traffic(4000, timedelta(hours=1), timedelta(hours=3))
    truths = {OLD: Truth(), NEW: Truth(noise=0.03)}
    played = [play("canary", spec, truths, traffic, rng, timedelta(days=5)) for _ in range(times)]
    back, most = _share(played, "rolled_back"), max(one.exposed for one in played)
    name = "Brier score 0.19 instead of 0.165, labels after 3 h"
    said = f"rolled back {back:.1%}, answers it gave: most {most:,} of 50,000"
    return [("canary", name, {"rolled_back": back, "most_answers": float(most)}, said)]


def _ab_tests(times: int, rng: np.random.Generator) -> list[Any]:
    rows: list[Any] = []
    for name, old, new in (
        ("equal versions", 0.0, 0.0),
        ("challenger better by 0.0166 (0.07 sd)", 0.02, 0.0),
        ("challenger better by 0.024 (0.1 sd)", 0.03, 0.0),
        ("challenger worse by 0.024", 0.0, 0.03),
    ):
        truths = {OLD: Truth(noise=old), NEW: Truth(noise=new)}
        played = [play("ab_test", SPEC, truths, DAILY, rng) for _ in range(times)]
        called = np.mean(["no result in time" not in one.why for one in played])
        promoted, looks = _share(played, "promoted"), np.mean([one.looks for one in played])
        error = math.sqrt(0.05 * 0.95 / times)
        said = f"called {called:.1%}, promoted {promoted:.1%}, {looks:.1f} days"
        said += f" (at most 5 %, simulation error {error:.1%})" if old == new else ""
        rows.append(("A/B test", name, {"called": float(called), "promoted": promoted}, said))
    return rows


def _bandits(times: int, rng: np.random.Generator) -> list[Any]:
    rows: list[Any] = []
    for name, old, new in (("challenger better", 0.03, 0.0), ("challenger worse", 0.0, 0.03)):
        truths, worse = {OLD: Truth(noise=old), NEW: Truth(noise=new)}, OLD if old else NEW
        shares = {}
        for strategy in ("bandit", "ab_test"):
            played = [play(strategy, SPEC, truths, DAILY, rng, 28 * DAY) for _ in range(times)]
            shares[strategy] = float(
                np.mean([one.answers[worse] / sum(one.answers.values()) for one in played])
            )
            if strategy == "bandit":
                right = _share(played, "promoted" if old else "rolled_back")
        said = (
            f"worse version's share of 28 days: bandit {shares['bandit']:.1%}, A/B test {shares['ab_test']:.1%}, "
            f"fixed split 50.0%; decided rightly {right:.1%}"
        )
        found = {"worse_share": shares["bandit"], "regret_ratio": 0.5 / shares["bandit"], "right": right}
        rows.append(("bandit", name, found, said))
    return rows


def _switches(times: int, rng: np.random.Generator) -> list[Any]:
    truths = {OLD: Truth(), NEW: Truth(errors=0.05)}
    smoke = Smoke(200, "", 1.0, 1.0)
    played = [
        play("blue_green", SPEC, truths, BUSY, rng, timedelta(days=1), smoke=smoke) for _ in range(times)
    ]
    back, plans = _share(played, "rolled_back"), {len(one.plans) for one in played}
    exposed = [one.exposed for one in played]
    said = f"back {back:.1%}, always in one step: {plans == {3}}; answers it gave: most {max(exposed):,}"
    found = {"rolled_back": back, "most_answers": float(max(exposed))}
    return [("blue/green", "5 % errors after a smoke test that passed", found, said)]


def _share(played: Sequence[Played], state: str) -> float:
    return float(np.mean([one.state == state for one in played]))
