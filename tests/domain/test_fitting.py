from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from evermodel.core.errors import TrainingError
from evermodel.modeling import estimators
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.fitting import TrainingJob, TrainingRows
from evermodel.modeling.skops_files import _skops_io, checked_dump
from evermodel.stats.calibration import calibration_error
from support.training_jobs import LINEAR, TREES, workbench


def _flip(bench: TrainingJob, days: float) -> TrainingJob:
    """The same rows with other labels in the first so many days."""
    start = bench.rows.times.min()
    flipped = bench.rows.times < start + np.timedelta64(int(days * 24), "h")
    labels = np.where(flipped, 1 - bench.rows.labels, bench.rows.labels).astype(np.int8)
    return replace(bench, rows=TrainingRows(bench.rows.frame, labels, bench.rows.times))


def _ask(fitted: Any, bench: TrainingJob) -> np.ndarray[Any, Any]:
    return np.asarray(fitted.pipeline.predict_proba(bench.rows.frame)[:, 1])


def test_the_metric_of_a_candidate_is_the_mean_over_its_folds() -> None:
    fitted = workbench(LINEAR, training={"folds": {"kind": "rolling", "count": 4}}).fit({})

    values = [fold["roc_auc"] for fold in fitted.folds]
    assert len(set(values)) == 4
    assert fitted.metrics["roc_auc"] == pytest.approx(sum(values) / 4)


def test_recent_rows_weigh_more_when_the_world_has_changed() -> None:
    old = _flip(workbench(LINEAR), 11)
    new = replace(old, spec=workbench(LINEAR, training={"recency_half_life": timedelta(days=1)}).spec)

    assert old.fit({}).metrics["roc_auc"] < 0.5
    assert new.fit({}).metrics["roc_auc"] > 0.7


def test_balanced_classes_raise_the_probability_of_the_rare_one() -> None:
    plain = workbench(LINEAR)
    rare = plain.rows.labels * (np.arange(len(plain.rows.labels)) % 5 == 0)
    rows = TrainingRows(plain.rows.frame, rare.astype(np.int8), plain.rows.times)
    plain = replace(plain, rows=rows)
    balanced = replace(plain, spec=workbench(LINEAR, training={"class_weight": "balanced"}).spec)

    assert _ask(plain.fit({}), plain).mean() == pytest.approx(rare.mean(), abs=0.02)
    answers = _ask(balanced.fit({}), balanced)
    # A logistic regression's mean answer is the mean label, here the one of balanced rows.
    assert (answers[rare == 1].mean() + answers[rare == 0].mean()) / 2 == pytest.approx(0.5, abs=0.01)


def test_early_stopping_takes_the_iterations_that_are_best_later_and_fits_all_rows_with_them() -> None:
    params = {"max_iter": 80, "learning_rate": 0.5}
    bench = workbench(
        {**TREES, "params": params}, training={"early_stopping": True}, gate={"metric": "log_loss"}
    )
    stopped = bench.fit(params)
    full = replace(bench, spec=workbench(TREES, gate={"metric": "log_loss"}).spec)
    by_hand = {
        n: full.fit({**params, "max_iter": n}).metrics["log_loss"]
        for n in (stopped.params["max_iter"] - 1, stopped.params["max_iter"], stopped.params["max_iter"] + 1)
        if n > 0
    }

    assert 1 < stopped.params["max_iter"] < 80
    assert stopped.params["max_iter"] == min(by_hand, key=by_hand.__getitem__)
    assert stopped.metrics["log_loss"] == pytest.approx(min(by_hand.values()))
    assert stopped.metrics["log_loss"] < full.fit(params).metrics["log_loss"] - 0.05
    assert stopped.pipeline[-1].n_iter_ == stopped.params["max_iter"]
    assert bench.fit(stopped.params).params == stopped.params


def test_early_stopping_works_for_regression_and_leaves_other_estimators_alone() -> None:
    regressor = {**TREES, "estimator": "sklearn.ensemble.HistGradientBoostingRegressor"}
    params = {"max_iter": 60, "learning_rate": 0.5}
    training = {"early_stopping": True}
    fitted = workbench(regressor, task="regression", training=training).fit(params)
    assert 1 <= fitted.params["max_iter"] < 60

    assert workbench(LINEAR, training=training).fit({"max_iter": 77}).params == {"max_iter": 77}


def test_histogram_boosting_never_holds_out_rows_at_random_unless_it_is_asked_to() -> None:
    bench = workbench(TREES, per_day=1000)
    assert len(bench.rows.labels) > 10_000

    assert bench.fit({"max_iter": 3}).pipeline[-1].do_early_stopping_ is False
    assert bench.fit({"max_iter": 3, "early_stopping": True}).pipeline[-1].do_early_stopping_ is True


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration_mends_an_overconfident_model_and_survives_the_store(method: str) -> None:
    overfitted = {"max_iter": 150, "learning_rate": 0.5, "min_samples_leaf": 2}
    noisy: dict[str, Any] = {"per_day": 200, "noise": 3.0}
    raw = workbench(TREES, **noisy)
    bench = replace(raw, spec=workbench(TREES, training={"calibrate": method}, **noisy).spec)
    train = raw.rows.within(raw.folds[-1].fit)
    fresh = workbench(TREES, per_day=333, noise=3.0).rows
    model = build_pipeline(raw.spec, raw.candidate.model_copy(update={"params": overfitted})).fit(
        train.frame, train.labels
    )
    shipped = bench.ship(overfitted)

    before = calibration_error(fresh.labels, model.predict_proba(fresh.frame)[:, 1])
    after = calibration_error(fresh.labels, shipped.predict_proba(fresh.frame)[:, 1])
    assert before > 0.2
    assert after < before / 3

    skops = _skops_io()
    again = skops.loads(skops.dumps(shipped), trusted=checked_dump(shipped)[1])
    assert (again.predict_proba(fresh.frame) == shipped.predict_proba(fresh.frame)).all()


class Broken(ClassifierMixin, BaseEstimator):
    """Fits anything, and answers with no numbers or not at all."""

    def __init__(self, how: str = "nan") -> None:
        self.how = how

    def fit(self, rows: Any, labels: Any) -> Broken:
        if self.how == "throws":
            raise KeyError("nobody expects this")
        self.classes_ = np.unique(labels)
        return self

    def predict_proba(self, rows: Any) -> Any:
        return np.full((len(rows), 2), np.nan)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("nan", "candidate broken: log_loss on .* is nan: its answers are not finite numbers"),
        ("throws", "candidate broken cannot be fitted: 'nobody expects this'"),
    ],
)
def test_a_candidate_that_throws_or_answers_with_nothing_is_named(
    how: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        estimators, "ALLOWED_PACKAGES", (*estimators.ALLOWED_PACKAGES, __name__.split(".")[0])
    )
    broken = {"name": "broken", "estimator": f"{__name__}.Broken", "params": {"how": how}}

    with pytest.raises(TrainingError, match=told):
        workbench(broken, gate={"metric": "log_loss"}).fit({"how": how})


def test_a_fold_of_one_class_is_named() -> None:
    bench = workbench(LINEAR, training={"folds": {"count": 3}})
    second = bench.folds[1].check
    inside = (bench.rows.times >= TrainingRows.boundary(second.start)) & (
        bench.rows.times < TrainingRows.boundary(second.end)
    )
    labels = np.where(inside, 0, bench.rows.labels)
    bench = replace(bench, rows=TrainingRows(bench.rows.frame, labels, bench.rows.times))

    with pytest.raises(TrainingError, match=r"the fold \(.*\) has 180 rows of one class only"):
        bench.fit({})


def test_a_regression_has_neither_class_weights_nor_calibration() -> None:
    for section in ({"class_weight": "balanced"}, {"calibrate": "sigmoid"}):
        with pytest.raises(ValueError, match="regression has no classes"):
            workbench(LINEAR, task="regression", training=section)
