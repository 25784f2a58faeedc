from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from evermodel.core.errors import SpecError, TrainingError
from evermodel.modeling.search import Trial, search
from support.small_spec import small_spec
from support.training_jobs import LINEAR, workbench

FOLDS = {"folds": {"count": 3}}
# Strong regularisation leaves no signal here; the search has to find that out.
SPACE = {"C": {"low": 1e-6, "high": 10.0, "log": True}, "fit_intercept": [True]}


def _candidate(**search_section: Any) -> dict[str, Any]:
    return {**LINEAR, "search": {"trials": 8, "space": SPACE, **search_section}}


def _quadratic(spec: Any, **more: Any) -> tuple[dict[str, Any], list[Trial]]:
    """Search the minimum of (x - 3)^2 without any model."""
    told: list[Trial] = []
    chosen = search(
        spec, spec.candidates[0], lambda p, fold: {"brier": (p["x"] - 3) ** 2 + fold}, told.append, **more
    )
    return chosen, told


def _spec(space: dict[str, Any], params: dict[str, Any] | None = None, seed: int = 0, **section: Any) -> Any:
    candidate = {**LINEAR, "params": params or {}, "search": {"trials": 25, "space": space, **section}}
    return small_spec(candidates=[candidate], seed=seed, gate={"metric": "brier"})


def test_the_search_comes_near_the_best_value_and_the_same_seed_tries_the_same() -> None:
    spec = _spec({"x": {"low": -10.0, "high": 10.0}})
    chosen, told = _quadratic(spec)
    again, told_again = _quadratic(spec)
    other, _ = _quadratic(_spec({"x": {"low": -10.0, "high": 10.0}}, seed=1))

    assert abs(chosen["x"] - 3) < 1
    assert chosen["x"] == min((t.params["x"] for t in told), key=lambda x: (x - 3) ** 2)
    assert len(told) == 25
    assert (again, [t.params for t in told_again]) == (chosen, [t.params for t in told])
    assert other != chosen


def test_ranges_of_whole_numbers_give_whole_numbers_and_choices_come_as_they_are_written() -> None:
    space = {"x": {"low": 1, "high": 9}, "kind": ["a", None, True, 1]}
    chosen, told = _quadratic(_spec(space))

    assert chosen["x"] == 3
    assert all(type(t.params["x"]) is int for t in told)
    assert {repr(t.params["kind"]) for t in told} == {"'a'", "None", "True", "1"}


def test_declared_parameters_are_tried_first_and_others_stay() -> None:
    space = {"x": {"low": -10.0, "high": 10.0}, "kind": ["a", "b"]}
    chosen, told = _quadratic(_spec(space, {"x": 3, "kind": "b", "max_iter": 50}))

    assert told[0].params == {"x": 3.0, "kind": "b"}
    assert chosen == {"x": 3.0, "kind": "b", "max_iter": 50}


def test_the_budget_of_trials_or_of_time_is_kept() -> None:
    def slow(params: dict[str, Any], fold: int) -> dict[str, float]:
        time.sleep(0.2)
        return {"brier": params["x"]}

    told: list[Trial] = []
    spec = _spec({"x": {"low": 0.0, "high": 1.0}}, trials=None, minutes=1 / 60)
    start = time.monotonic()
    search(spec, spec.candidates[0], slow, told.append)

    assert 1 <= len(told) <= 6
    assert time.monotonic() - start < 10
    assert len(_quadratic(_spec({"x": {"low": 0.0, "high": 1.0}}, trials=4))[1]) == 4


def test_hopeless_trials_are_given_up_after_their_first_folds() -> None:
    bench = workbench(_candidate(trials=14), training=FOLDS)
    told: list[Trial] = []
    bench.run(told.append)

    pruned = [trial for trial in told if trial.state == "pruned"]
    complete = [trial for trial in told if trial.state == "complete"]
    assert pruned
    assert {len(trial.folds) for trial in complete} == {3}
    assert all(len(trial.folds) < 3 for trial in pruned)
    best = max(trial.mean["roc_auc"] for trial in complete)
    assert all(trial.mean["roc_auc"] < best + 0.05 for trial in pruned)


def test_the_same_seed_chooses_the_same_parameters_and_a_model_with_the_same_bits() -> None:
    bench = workbench(_candidate(), training=FOLDS)
    first, again = bench.run(lambda trial: None), bench.run(lambda trial: None)

    assert first.params == again.params
    assert (
        first.pipeline.predict_proba(bench.rows.frame) == again.pipeline.predict_proba(bench.rows.frame)
    ).all()
    assert first.folds == again.folds


def test_the_search_beats_badly_declared_parameters_and_is_measured_as_its_best_trial() -> None:
    bad = {**_candidate(), "params": {"C": 1e-6}}
    told: list[Trial] = []
    bench = workbench(bad, training=FOLDS, gate={"metric": "log_loss"})
    found, declared = bench.run(told.append), bench.fit({"C": 1e-6})

    assert told[0].params["C"] == 1e-6
    assert found.metrics["log_loss"] < declared.metrics["log_loss"] - 0.1
    best = min((t for t in told if t.state == "complete"), key=lambda t: t.mean["log_loss"])
    assert found.metrics == best.mean
    assert found.params["C"] == best.params["C"]
    assert best.params["C"] == found.pipeline[-1].C


def test_trials_that_fail_are_left_out_and_a_search_of_failures_says_why() -> None:
    told: list[Trial] = []
    some = {"trials": 8, "space": {"C": [-1.0, 1.0]}}
    found = workbench({**LINEAR, "search": some}).run(told.append)
    assert found.params["C"] == 1.0
    assert {t.state for t in told if t.params["C"] == -1.0} == {"failed"}
    assert all("C" in t.problem for t in told if t.state == "failed")

    with pytest.raises(
        TrainingError, match=r"none of 3 trials completed; the first one failed: .*cannot be fitted"
    ):
        workbench({**LINEAR, "search": {"trials": 3, "space": {"C": [-1.0]}}}).run(told.append)


def test_a_trial_without_a_finite_metric_fails() -> None:
    bench = workbench({**LINEAR, "search": {"trials": 3, "space": {"C": [1.0]}}})
    told: list[Trial] = []

    def nan(params: dict[str, Any], fold: int) -> dict[str, float]:
        raise TrainingError(f"metric is {np.nan}")

    with pytest.raises(TrainingError, match="none of 3 trials completed"):
        search(bench.spec, bench.candidate, nan, told.append)
    assert [trial.state for trial in told] == ["failed"] * 3


def test_a_space_with_a_parameter_that_the_estimator_does_not_have_is_refused_at_once() -> None:
    told: list[Trial] = []
    with pytest.raises(SpecError, match="LogisticRegression has no parameter depth"):
        workbench({**LINEAR, "search": {"trials": 3, "space": {"depth": [1, 2]}}}).run(told.append)
    assert told == []


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"space": {"C": [1]}}, "the search needs a budget"),
        ({"trials": 1, "space": {"C": []}}, "C has no choices"),
        ({"trials": 1, "space": {"C": {"low": 2, "high": 1}}}, r"low \(2\) must be below high \(1\)"),
        ({"trials": 1, "space": {"C": {"low": 0, "high": 1, "log": True}}}, "must be above 0"),
    ],
)
def test_a_search_that_cannot_be_done_is_refused_in_the_spec(section: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        small_spec(candidates=[{**LINEAR, "search": section}])
