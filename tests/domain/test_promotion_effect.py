"""A promotion is held against the version that it replaced, on the same rows, day by day."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evermodel.core.errors import ModelFormatError
from evermodel.modeling.model_store import LoadedModel
from evermodel.monitoring.drift.verdict import DriftVerdict, PromotionEffect
from evermodel.monitoring.performance.label_join import read_label_join
from evermodel.monitoring.performance.promotion_effect import WatchedPromotion, promotion_effect
from evermodel.monitoring.summary_tags import effect_of, effect_tag
from evermodel.stats.sequential import daily_mean
from simulations.promotion_watch import WatchedWorld, alarm_rate
from support.performance_log import START, PerformanceWorld, PerformanceWorlds, logistic
from support.verdicts import a_verdict

WATCHED = WatchedPromotion("2", "1", START)
AS_OF = START + timedelta(days=14)


class Replaced:
    """The replaced version, which answers as the log does unless told otherwise."""

    classes_ = np.array([0, 1])

    def __init__(self, age: float = -0.6) -> None:
        self.age, self.frames = age, 0

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        self.frames += 1
        probability = logistic(1.2 * frame["amount"] + self.age * frame["age"])
        return np.column_stack([1 - probability, probability])

    def load(self) -> LoadedModel:
        return LoadedModel(self, pd.DataFrame(), [])  # type: ignore[arg-type]


def _effect(world: PerformanceWorld, replaced: Replaced, day: int = 14) -> PromotionEffect:
    moment = START + timedelta(days=day)
    read_label_join(world.spec, world.lake, moment)  # the evaluation of performance, which reads the labels
    return promotion_effect(world.spec, world.lake, moment, WATCHED, 0.01, replaced.load)


def test_a_version_that_answers_as_its_predecessor_did_is_no_loss(
    performance_world: PerformanceWorlds,
) -> None:
    world = performance_world()
    world.label(world.predict(range(12), per_day=200, version="2"))

    found = _effect(world, Replaced(age=-0.65))

    assert (found.version, found.replaced, found.days, found.rows) == ("2", "1", 12, 2400)
    assert found.gain == pytest.approx(0, abs=0.01)
    assert found.low is not None
    assert not found.hurt
    assert "on the same rows, 12 days" in str(found)


def test_a_loss_beyond_the_margin_is_proved_and_said(performance_world: PerformanceWorlds) -> None:
    world = performance_world()
    rows = world.predict(range(12), per_day=200, version="2")
    world.label(rows, pa.array((np.asarray(rows["amount"]) > 0).astype(np.int8)))

    found = _effect(world, Replaced(age=0.0))

    assert found.gain is not None
    assert found.gain < -0.03
    assert found.hurt
    assert str(found).endswith("against version 1 on the same rows, 12 days: worse by more than 0.010")


def test_each_day_is_scored_once_and_labels_that_are_not_due_do_not_count(
    performance_world: PerformanceWorlds,
) -> None:
    world, replaced = performance_world(), Replaced()
    world.label(world.predict(range(12), per_day=200, version="2"))

    first, scored = _effect(world, replaced, day=8), replaced.frames
    assert (first.days, scored) == (6, 6)
    assert _effect(world, replaced, day=8) == first
    assert replaced.frames == scored
    assert _effect(world, replaced, day=9).days == 7
    assert replaced.frames == scored + 1


def test_what_cannot_be_known_is_said(performance_world: PerformanceWorlds) -> None:
    world = performance_world()
    world.label(world.predict(range(12), per_day=200, version="2"))

    def broken() -> LoadedModel:
        raise ModelFormatError("version 1 is gone", "retrain")

    assert _effect(world, Replaced(), day=1).note == "no label has matured yet"
    early = _effect(world, Replaced(age=0.0), day=4)
    assert (early.days, early.low, early.hurt) == (2, None, False)
    other = WatchedPromotion("2", "0", START)
    found = promotion_effect(world.spec, world.lake, AS_OF, other, 0.01, broken)
    assert "version 0 cannot score these rows: version 1 is gone" in str(found)
    assert not found.hurt


def test_it_survives_its_json_and_its_tag() -> None:
    found = PromotionEffect("2", "1", "roc_auc", START.isoformat(), 0.01, 0.05, 9, 900, -0.04, -0.05, -0.03)
    verdict = a_verdict(promotion=found)

    assert found.hurt
    assert DriftVerdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict
    assert effect_of(effect_tag(verdict)) == found
    assert effect_tag(a_verdict()) == {}


@pytest.mark.parametrize(
    "world",
    [WatchedWorld(loss=0.01), WatchedWorld(loss=0.01, days=0.02, correlation=0.6)],
    ids=["weeks vary", "and days resemble the day before"],
)
def test_a_loss_of_the_margin_is_called_more_at_most_at_the_stated_rate(world: WatchedWorld) -> None:
    # 5 % of 40 are 2: 99.9 % of such counts are at most 7.
    assert alarm_rate(world, promotions=40, days=14, margin=0.01) <= 7 / 40


def test_a_real_loss_is_found_in_weeks_that_vary() -> None:
    assert alarm_rate(WatchedWorld(loss=0.05), promotions=10, days=21, margin=0.01) >= 0.8
    assert alarm_rate(WatchedWorld(loss=0.0), promotions=20, days=14, margin=0.01) <= 1 / 20


def test_limits_do_not_depend_on_level_or_scale() -> None:
    values = np.random.default_rng(3).normal(0.1, 1, 20)
    here, moved = daily_mean(values, 0.05), daily_mean(5 + 10 * values, 0.05)
    assert moved.low == pytest.approx(5 + 10 * here.low)
    assert moved.high == pytest.approx(5 + 10 * here.high)
    flipped = daily_mean(-values, 0.05)
    assert flipped.low == pytest.approx(-here.high)
    assert daily_mean(values, 0.01).high > here.high
    assert daily_mean([0.0] * 6, 0.05).high == 0
    assert all(np.isinf(daily_mean(few, 0.05).high) for few in ([], [0.5], [0.5] * 6, [0.1, 0.2]))
