"""The effects of past windows against the same reference, kept in the lake: a day adds one row."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from evermodel.core.atomic import write_text
from evermodel.core.storage import StoragePath
from evermodel.data.prediction_log import read_log
from evermodel.monitoring.drift.family import DriftTest
from evermodel.monitoring.drift.measure import measure, measure_together, window_days
from evermodel.monitoring.drift.profile import ThinnedRows
from evermodel.monitoring.drift.profiles import answers, days_before
from evermodel.monitoring.drift.quiet_days import Limit, learn_limit
from evermodel.monitoring.drift.reference_and_current import ComparedRows
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import LogRows
from evermodel.monitoring.drift.together import KEY as TOGETHER
from evermodel.spec import ModelSpec
from evermodel.spec.drift import ReferenceSpec
from evermodel.spec.window import Window, drift_window, midnight, zone_of

_RECIPE = "2"  # changes when effects are measured differently
_ZERO_IF_ABSENT = (
    "missing:",
    "category:",
)  # nothing missing, nothing new: no effect rather than an unknown one
_TOGETHER_ROWS, _TOGETHER_LEAST = (
    4,
    8,
)  # windows whose whole rows are compared in one run, and that are needed
_SEASON_ROWS = 8  # windows added at most in one run, as each reads earlier years of the source


@dataclass(frozen=True)
class PastWindow:
    """What was measured in one past window.

    Parameters
    ----------
    fingerprint
        Of the log that it was measured on; another one means that it has to be measured again.
    critical
        Tests that were critical, so that this window was not quiet for them.
    """

    fingerprint: str
    effects: dict[str, float]
    critical: tuple[str, ...]


@dataclass
class QuietHistory:
    """The past of one model against the references of one window; knows nothing of days that were later.

    Parameters
    ----------
    was_calm
        Tells whether nothing else was wrong on a day, such as an incident with the data. Days on which a test was
        critical are never quiet for that test.
    """

    references: References
    was_calm: Callable[[date], bool] = lambda day: True
    _rows: dict[date, PastWindow] = field(default_factory=dict)
    _series: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    _rules: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def file(self) -> StoragePath:
        """Where the past windows are kept."""
        profiles = self.references.profiles
        return profiles.folder / "calm" / f"{self._key}.json"

    def learn(self) -> QuietHistory:
        """Measure the past windows that are not in the lake yet, and keep them there."""
        if not self._whole_days and self.references.spec.watch is None:
            return self  # a log of scored days has no hours
        kept = _load(self.file)
        self._rows, self._series = {}, {}
        added, slow = 0, any(spec.kind == "season" for spec in _wanted(self.references.spec))
        for end in self._ends:
            fingerprint = self._fingerprint(end)
            row = kept.get(end)
            if row is None or row.fingerprint != fingerprint:
                if slow and added >= _SEASON_ROWS:
                    continue
                row = self._measure(end, fingerprint)
                added += 1
            self._add(end, row)
        if added:
            _save(self.file, {**kept, **self._rows})
        return self

    def limit(self, key: str, power: float, rate: float, before: date | None = None) -> Limit | None:
        """Learn the largest normal effect of a test.

        Parameters
        ----------
        rate
            Chance that a quiet window is above the limit.
        before
            Use only windows that end by this day; default: the start of the evaluated window.
        """
        spec = self.references.spec
        last = before or self._day(self.references.window.start)
        if key == TOGETHER:
            return self._limit_together(rate, last, measured=before is None)
        effects = self._calm_effects(key)
        if effects is None or last < self._first:
            return None
        stop = (last - self._first).days + 1
        start = max(0, stop - spec.drift.history.span.days)
        days = window_days(self.references)
        return learn_limit(effects[start:stop], power, days, spec.drift.history.least, rate)

    def _limit_together(self, rate: float, last: date, *, measured: bool) -> Limit | None:
        """Learn from windows one after the other; they are measured when first asked for, because that takes a fit."""
        days = window_days(self.references)
        ends = [end for end in self._rows if end <= last and end.toordinal() % days == 0]
        ends = [end for end in ends if last - end < self.references.spec.drift.history.span]
        if measured:
            lacking = [
                end for end in ends if self._rows[end].effects and TOGETHER not in self._rows[end].effects
            ]
            for end in lacking[-_TOGETHER_ROWS:]:
                self._rows[end] = self._measured_together(end, rate)
            if lacking:
                _save(self.file, {**_load(self.file), **self._rows})
        effects = np.array([self._effect(end, TOGETHER) for end in ends])
        return learn_limit(effects, 1.0, 1, _TOGETHER_LEAST, rate)

    def _measured_together(self, end: date, rate: float) -> PastWindow:
        row, window = self._rows[end], self._window(end)
        side = self._side(window)
        assert side is not None  # it had effects
        found = measure_together(self.references.at(window), side, 1.0)
        if found is None:
            return row
        apart = found.drift.effect / self._left(window, side.rows)
        total = found.weight * self.references.spec.drift.false_alarm_rate / rate
        past = self._was_critical(found, apart, window, total) if found.rule else False
        critical = (*row.critical, TOGETHER) if past else row.critical
        return PastWindow(row.fingerprint, {**row.effects, TOGETHER: float(f"{apart:.5g}")}, critical)

    @property
    def _first(self) -> date:
        return next(iter(self._rows))

    def _calm_effects(self, key: str) -> NDArray[np.float64] | None:
        """Return the effects of a test by day, not-a-number on days that were not quiet."""
        if key not in self._series and self._rows:
            effects = np.full((max(self._rows) - self._first).days + 1, np.nan)
            for end in self._rows:
                effects[(end - self._first).days] = self._effect(end, key)
            self._series[key] = effects
        return self._series.get(key)

    def _add(self, end: date, row: PastWindow) -> None:
        self._rows[end] = row
        place = (end - self._first).days
        for key, effects in self._series.items():
            longer = np.append(effects, np.full(place + 1 - len(effects), np.nan))
            longer[place] = self._effect(end, key)
            self._series[key] = longer

    def _effect(self, end: date, key: str) -> float:
        row = self._rows[end]
        if key in row.critical or not row.effects or not self.was_calm(end):
            return float("nan")
        return row.effects.get(key, 0.0 if key.startswith(_ZERO_IF_ABSENT) else float("nan"))

    def _measure(self, end: date, fingerprint: str) -> PastWindow:
        window = self._window(end)
        side = self._side(window)
        if side is None or side.rows < self.references.spec.drift.min_rows:
            return PastWindow(fingerprint, {}, ())
        references = self.references.at(window)
        measured = [m for m in measure(references, side, effects_alone=True) if m.rule is not None]
        total = sum(m.weight for m in measured)
        corrected = {m.key: m.drift.effect / self._apart(m, window, side.rows) for m in measured}
        critical = [m.key for m in measured if self._was_critical(m, corrected[m.key], window, total)]
        return PastWindow(fingerprint, {k: float(f"{e:.5g}") for k, e in corrected.items()}, tuple(critical))

    def _apart(self, measured: DriftTest, window: Window, rows: float) -> float:
        """Return by how much an effect is too small because the window is a part of the reference itself.

        A part ``f`` of the reference differs from the whole by ``1 - f`` times what it differs from the rest.
        """
        if measured.drift.what == "prediction":
            return 1.0
        left = self._left(window, rows)
        return left**2 if measured.drift.measure == "PSI" else left

    def _left(self, window: Window, rows: float) -> float:
        """Return the share of the reference that is not the window itself."""
        fitted, reference = self.references.fitted, self.references.main()
        if not reference.key.startswith(("training", "weekday")):
            return 1.0
        inside = min(window.end, fitted.end) - max(window.start, fitted.start)
        share = max(inside / (window.end - window.start), 0.0) * rows / max(reference.rows, 1)
        return max(1 - share, 0.1)

    def _was_critical(self, measured: DriftTest, effect: float, window: Window, total: float) -> bool:
        """Evaluate a past window by what was known then."""
        rate = self.references.spec.drift.false_alarm_rate * measured.weight / total
        if effect < measured.critical:
            return False
        known = self._day(window.start)
        limit = self.limit(measured.key, measured.power, rate, before=known)
        learnt = limit and (limit.sure or effect < limit.effect)
        if effect < (limit.effect if limit and learnt else self._rule(measured)):
            return False
        return (measured.significance() if measured.significance else measured.drift.p_value) <= rate

    def _rule(self, measured: DriftTest) -> float:
        name = (measured.drift.reference, measured.key)
        if name not in self._rules:
            assert measured.rule is not None
            self._rules[name] = measured.rule()
        return self._rules[name]

    def _day(self, moment: datetime) -> date:
        return moment.astimezone(zone_of(self.references.spec)).date()

    def _side(self, window: Window) -> ComparedRows | None:
        """Return the rows of a past window: of whole days from their profiles, of hours from the log."""
        spec, profiles = self.references.spec, self.references.profiles
        if self._whole_days:
            return profiles.merged(window.days(zone_of(spec)))
        log = LogRows(read_log(spec, profiles.lake, window), answers(spec))
        return (
            ThinnedRows(log, frozenset(spec.features.numeric) | log.numbers, seed=spec.seed)
            if log.num_rows
            else None
        )

    def _window(self, end: date) -> Window:
        """Return the past window that ended on a day: at midnight or, of hours, at the same time of the day."""
        spec = self.references.spec
        if self._whole_days:
            return drift_window(spec, midnight(spec, end))
        clock = self.references.window.end.astimezone(zone_of(spec)).timetz()
        return drift_window(spec, datetime.combine(end, clock).astimezone(UTC))

    @property
    def _ends(self) -> list[date]:
        """Days on which past windows ended, the oldest first; none of them reaches into the evaluated window."""
        window, history = self.references.window, self.references.spec.drift.history
        known = set(self.references.profiles.days())
        days = days_before(self.references.spec, window, history.span)
        if not self._whole_days:  # a window of hours ends on its day
            return [day for day in days if day in known]
        return [day + timedelta(days=1) for day in days if day in known]

    @property
    def _whole_days(self) -> bool:
        """Whether windows are whole days, however late on a day the evaluated one ends."""
        return self.references.spec.drift.window % timedelta(days=1) == timedelta()

    def _fingerprint(self, end: date) -> str:
        window = self._window(end)
        days = window.days(zone_of(self.references.spec))
        trailing = [s.span for s in _wanted(self.references.spec) if s.kind == "trailing"]
        if trailing:
            days = [*days_before(self.references.spec, window, max(trailing)), *days]
        return self.references.profiles.fingerprint(days)

    @property
    def _key(self) -> str:
        """Identify what is measured, and against what."""
        references, spec = self.references, self.references.spec
        fitted = f"{references.fitted.start.isoformat()} {references.fitted.end.isoformat()}"
        measured = spec.drift.model_dump_json(exclude={"history", "engine", "spark", "together"})
        parts = [_RECIPE, references.version, fitted, measured]
        # A veto of releases changes no verdict: what was measured under `alert` stays comparable.
        respond = spec.respond.model_copy(
            update={"quality": "off" if spec.respond.quality == "off" else "alert"}
        )
        if not self._whole_days:
            clock = references.window.end.astimezone(zone_of(spec))
            parts.append(f"{clock:%H:%M} {spec.watch and spec.watch.timezone}")
        parts += [
            json.dumps(spec.watched),
            respond.model_dump_json(exclude={"together", "attribution"}),
            str(spec.seed),
        ]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def _wanted(spec: ModelSpec) -> list[ReferenceSpec]:
    own = [watch.reference for watch in spec.drift.by_column.values() if watch.reference]
    return [spec.drift.reference, *own]


def _load(file: StoragePath) -> dict[date, PastWindow]:
    """Read past windows; a damaged file is as good as none."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        return {
            date.fromisoformat(end): PastWindow(row["log"], row["effects"], tuple(row["critical"]))
            for end, row in data.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _save(file: StoragePath, rows: dict[date, PastWindow]) -> None:
    data = {
        end.isoformat(): {"log": row.fingerprint, "effects": row.effects, "critical": row.critical}
        for end, row in sorted(rows.items())
    }
    write_text(file, json.dumps(data))
