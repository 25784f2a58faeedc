from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.simulations.quiet_days import RATE, World, simulate

from evermodel.data.prediction_log import read_log
from evermodel.monitoring.drift import history as history_module
from evermodel.monitoring.drift.history import QuietHistory
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.measure import measure
from evermodel.monitoring.drift.quiet_days import learn_limit
from evermodel.monitoring.drift.reference_and_current import ExactRows
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec.window import Window
from support.drift_rows import DAY, START, drift_spec, log_day, references, table

END = START + 60 * DAY
SPEC = drift_spec(["x"], window="1d", history={"least": 20, "span": "60d"}, false_alarm_rate=0.01)


def test_the_limit_is_that_of_one_more_window_when_windows_are_independent() -> None:
    generator = np.random.default_rng(0)
    passed = []
    for _ in range(40):
        limit = learn_limit(generator.normal(size=60) ** 2, 0.25, length=1, least=28, rate=0.01)
        assert limit is not None
        assert 20 < limit.effective <= 60
        passed.append((generator.normal(size=1_000) ** 2 > limit.effect).mean())

    assert 0.002 < np.mean(passed) < 0.012


def test_what_was_normal_once_is_no_news() -> None:
    effects = np.r_[np.full(99, 0.01), 5.0]

    limit = learn_limit(effects, 0.25, length=1, least=28, rate=0.01)

    assert limit is not None
    assert limit.effect == 5


def test_windows_that_resemble_their_neighbours_are_worth_less_and_make_the_limit_wider() -> None:
    generator = np.random.default_rng(1)
    wandering = np.convolve(generator.normal(size=200), np.ones(5), "valid")[:150] ** 2
    shuffled = generator.permutation(wandering)

    apart, together = (learn_limit(effects, 0.25, 1, 28, 0.001) for effects in (shuffled, wandering))

    assert apart is not None
    assert together is not None
    assert together.effective < 0.7 * apart.effective
    assert together.effect > 1.05 * apart.effect


def test_too_few_calm_windows_or_too_few_independent_ones_teach_nothing() -> None:
    effects = np.random.default_rng(2).normal(size=40) ** 2
    with_gaps = np.where(np.arange(40) % 2, np.nan, effects)

    assert learn_limit(effects, 0.25, 1, 28, 0.01) is not None
    assert learn_limit(with_gaps, 0.25, 1, 28, 0.01) is None
    for dependent, length in ((effects, 7), (np.arange(40.0), 1)):
        limit = learn_limit(dependent, 0.25, length, 28, 0.01)
        assert limit is not None
        assert (limit.sure, limit.effect) == (False, dependent.max())
    assert learn_limit(np.zeros(40), 0.25, 1, 28, 0.01).effect == 0  # type: ignore[union-attr]


@pytest.mark.parametrize(("length", "memory"), [(1, 0.0), (1, 0.5), (7, 0.5)])
def test_calm_days_pass_a_learnt_limit_no_more_often_than_stated(length: int, memory: float) -> None:
    found = simulate(World(memory), length, history=182, trials=25, seed=3)

    assert found.known > 0.9
    assert found.alarms <= RATE + 0.007
    assert found.found > (0.4 if length == 1 else 0.15)


def _wandering(days: int, seed: int = 0) -> list[Any]:
    """Days whose means differ by nature."""
    generator = np.random.default_rng(seed)
    return [generator.normal(mean, 1, 150) for mean in generator.normal(0, 0.7, days)]


def _logged(lake: Path, values: list[Any], first: int = 0) -> None:
    for day, x in enumerate(values):
        log_day(SPEC, lake, END + (first + day) * DAY, {"x": x})


def _references(lake: Path, day: int) -> References:
    window = Window(END + day * DAY, END + (day + 1) * DAY)
    training = table({"x": np.concatenate(_wandering(30, 9))}, np.repeat(np.arange(30), 150))
    return references(SPEC, training, window, lake)


def _learnt_from(column: ColumnDrift) -> int:
    assert column.basis.startswith("learnt from")
    return int(column.basis.split()[2])


def _judged(lake: Path, day: int, **options: Any) -> ColumnDrift:
    found = _references(lake, day)
    history = QuietHistory(found, **options).learn()
    (column,) = [
        c
        for c in judge_window(SPEC, found, read_log(SPEC, lake, found.window), history=history)
        if c.what == "feature"
    ]
    return column


def test_what_is_normal_is_learnt_from_the_days_before_and_the_verdict_says_so(tmp_path: Path) -> None:
    _logged(tmp_path, [*_wandering(45), np.random.default_rng(1).normal(1.2, 1, 150)])
    _logged(tmp_path, [np.random.default_rng(2).normal(9, 1, 150)], first=46)

    early, late, broken = (_judged(tmp_path, day) for day in (5, 45, 46))

    assert early.basis == "" or early.basis.startswith("a rule")
    assert 40 <= _learnt_from(late) <= 45
    assert (late.effect > 0.25, late.p_value < 1e-9, late.severity) == (True, True, "none")
    assert late.threshold == late.calm > late.effect
    assert broken.severity == "critical"


@pytest.mark.slow
def test_a_day_adds_one_row_and_a_log_that_has_changed_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[date] = []
    truly = QuietHistory._measure

    def counted(self: QuietHistory, end: date, fingerprint: str) -> Any:
        measured.append(end)
        return truly(self, end, fingerprint)

    monkeypatch.setattr(history_module.QuietHistory, "_measure", counted)
    values = _wandering(32)
    _logged(tmp_path, values)
    first_end = (END + DAY).date()

    _judged(tmp_path, 29)
    assert measured == [first_end + timedelta(days=day) for day in range(29)]
    measured.clear()
    _judged(tmp_path, 30)
    assert measured == [first_end + timedelta(days=29)]
    measured.clear()
    _judged(tmp_path, 30)
    assert measured == []
    _logged(tmp_path, [values[3] + 1], first=3)
    _judged(tmp_path, 30)
    assert measured == [first_end + timedelta(days=3)]


def test_judging_an_old_day_again_gives_the_same_verdict_whatever_came_later(tmp_path: Path) -> None:
    _logged(tmp_path, _wandering(40))
    before = _judged(tmp_path, 39)
    _logged(tmp_path, [x + 3 for x in _wandering(6, 5)], first=40)
    _judged(tmp_path, 45)

    assert _judged(tmp_path, 39) == before


def test_days_on_which_something_was_wrong_teach_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    broken = [generator.normal(9, 1, 150) for _ in range(4)]
    _logged(tmp_path, [*_wandering(30), *broken, *_wandering(4, 6)])

    without = _judged(tmp_path, 37)
    excluded = _judged(tmp_path, 37, was_calm=lambda day: day >= END.date() + timedelta(days=5))

    assert 29 <= _learnt_from(without) <= 33
    assert _learnt_from(without) - 5 <= _learnt_from(excluded) < _learnt_from(without)
    assert without.threshold < 4


@pytest.mark.slow
def test_a_damaged_file_of_past_windows_is_made_again(tmp_path: Path) -> None:
    _logged(tmp_path, _wandering(32))
    before = _judged(tmp_path, 30)
    history = QuietHistory(_references(tmp_path, 30))
    kept = json.loads(history.file.read_text())
    assert len(kept) == 30

    history.file.write_text("{")

    assert _judged(tmp_path, 30) == before
    assert json.loads(history.file.read_text()) == kept


def test_windows_that_are_no_whole_days_have_no_history(tmp_path: Path) -> None:
    _logged(tmp_path, _wandering(32))
    spec = drift_spec(["x"], window="12h")
    window = Window(END + 30 * DAY, END + 30.5 * DAY)

    history = QuietHistory(references(spec, _references(tmp_path, 0).training, window, tmp_path)).learn()  # type: ignore[arg-type]

    assert history.limit("feature:x", 0.25, 0.01) is None
    assert not history.file.exists()


def test_a_past_window_has_the_effects_of_an_evaluated_one_and_finds_p_values_when_asked() -> None:
    generator = np.random.default_rng(3)
    spec = drift_spec(["x", "y"], ["c"], window="1d")
    old, new = (
        table(
            {
                "x": generator.normal(move, 1, 900),
                "y": generator.normal(size=900),
                "c": ["a"] * 500 + [last] * 400,
            }
        )
        for move, last in ((0, "b"), (0.5, None))
    )
    now = ExactRows(new, frozenset(["x", "y"]))

    whole = {one.key: one for one in measure(references(spec, old), now)}
    alone = {one.key: one for one in measure(references(spec, old), now, effects_alone=True)}

    assert alone.keys() == whole.keys() >= {"feature:x", "feature:c", "missing:c", "correlation:x ~ y"}
    for key, one in alone.items():
        assert one.drift.effect == whole[key].drift.effect
        assert one.weight == whole[key].weight
        found = one.significance() if one.significance else one.drift.p_value
        assert found == pytest.approx(
            whole[key].drift.p_value, rel=0.05
        )  # a quiet pair has that of normal rows
