"""Tables of many columns: pairs of columns are chosen by the reference, and profiles are read a group of columns at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.simulations.wide_log import WideLog

from evermodel.data.prediction_log import files_of, log_schema
from evermodel.monitoring.drift.compare import compare
from evermodel.monitoring.drift.correlation import MOST_PAIRS, pair_changes, ranked
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profile import merged, profile
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.reference_and_current import ExactRows
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.spec.window import Window, parse_moment


def test_of_many_columns_the_strongest_pairs_are_compared_and_the_rate_holds() -> None:
    generator, columns, most, level = np.random.default_rng(5), 30, 15, 0.1
    names = [f"x{number}" for number in range(columns)]
    ours = naive = 0
    for _ in range(400):
        sides = [ranked(generator.normal(size=(60, columns))) for _ in range(2)]
        pairs, chosen_from = pair_changes(names, *sides, 2.0, most)
        assert (len(pairs), chosen_from) == (most, columns * (columns - 1) // 2)
        smallest = min(pair.p_value for pair in pairs)
        ours += smallest <= level / most
        naive += smallest * most / chosen_from <= level / most

    assert ours / 400 <= level + 2 * np.sqrt(level * (1 - level) / 400)
    assert naive / 400 > 2 * level  # as if the strongest had been chosen without looking at their rows


def test_an_association_that_breaks_is_found_among_the_strongest_pairs() -> None:
    generator = np.random.default_rng(6)
    before, now = generator.normal(size=(2, 3000, 40))
    before[:, 7] = before[:, 3] + before[:, 7]
    names = [f"x{number}" for number in range(40)]

    (worst, *_), chosen_from = pair_changes(names, ranked(before), ranked(now), 0.2, most=20)
    every, all_pairs = pair_changes(names, ranked(before), ranked(now), 0.2)

    assert (worst.first, worst.second) == ("x3", "x7")
    assert (worst.before, worst.now) == (every[0].before, every[0].now)
    assert worst.p_value < 1e-12
    assert chosen_from == all_pairs == len(every) == 780


def test_hours_put_together_say_the_same_as_their_day() -> None:
    generator = np.random.default_rng(7)
    hours = [generator.lognormal(0.02 * hour, size=3000 + 50 * hour) for hour in range(24)]
    before = ExactRows(pa.table({"x": generator.lognormal(0.1, size=40_000)}), frozenset("x")).sample("x")
    sides = [ExactRows(pa.table({"x": some}), frozenset("x")) for some in (*hours, np.concatenate(hours))]

    day = merged([profile(side, ["x"]) for side in sides[:-1]])

    exact, kept = compare(before, sides[-1].sample("x")), compare(before, day.sample("x"))
    assert day.rows == sides[-1].rows
    assert kept.psi == pytest.approx(exact.psi, abs=5e-4)
    assert exact.psi > 0.01


def test_a_wide_day_is_judged_against_profiles_that_are_read_in_groups_of_columns(tmp_path: Path) -> None:
    log = WideLog(tmp_path, rows=4000, columns=120, days=4)
    spec = log.write()
    first, start, end = map(parse_moment, log.moments)
    window = Window(start, end)
    made = Profiles(spec, log.lake)
    days = Window(first, start).days()
    fresh = [made.day(day) for day in days]

    def judged(profiles: Profiles) -> object:
        files = files_of(spec, log.lake, window)
        rows = ParquetRows(files, window, "event_time", log_schema(spec))
        return judge_window(
            spec, References(spec, window, "1", pa.table({}), Window(first, start), profiles), rows
        )

    found = judged(made)
    stored = Profiles(spec, log.lake)

    assert judged(stored) == found
    assert len(spec.features.numeric) * (len(spec.features.numeric) - 1) / 2 > MOST_PAIRS
    assert {c.column for c in found if c.severity != "none"} == {*log.moved, "all features"}
    opened = [stored.day(day) for day in days]
    assert [one.rows for one in opened] == [one.rows for one in fresh]
    assert list(opened[0].samples) == list(fresh[0].samples)
    assert {len(one.samples._kept) for one in opened} == {2}
