"""The plan of a backtest: days, policies and work folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from evermodel.core.errors import SpecError
from evermodel.monitoring.performance.answers import performance_metric
from evermodel.pipelines.backtest.history import BacktestHistory, record_history
from evermodel.pipelines.backtest.policies import Policy, policies_named
from evermodel.spec import ModelSpec
from evermodel.spec.parts import format_span, parse_span
from evermodel.spec.window import whole_day

ONE_DAY, ONE_WEEK = timedelta(days=1), timedelta(days=7)
_LONGEST_STEP = timedelta(days=92)  # a quarter
_RECIPE = "2"  # changes when results are made differently, so that kept ones are made again
_OUTCOME = "1"  # the same of outcomes alone
# What a fitted model depends on beside its rows.
_FIT = ("task", "time_column", "id_column", "label", "features", "leaks", "split", "candidates", "training")
_FIT_ALSO = ("seed", "validation")
# What the verdict on a window depends on beside the models and the log.
_VERDICT = ("drift", "performance", "respond", "gate", "cluster", "context")
# Sections that decide when a policy retrains and which messages it sends.
_REPLAY = ("retrain", "schedule", "alerts")


@dataclass(frozen=True)
class Plan:
    """One backtest.

    Parameters
    ----------
    start, end
        First day on which a champion serves, and the day after the last; whole weeks lie between.
    step
        How often the drift verdict is asked for, and so how fast a policy can answer.
    work
        Folder that keeps fits, answers and verdicts, so that nothing is done twice.
    """

    spec: ModelSpec
    history: BacktestHistory
    start: datetime
    end: datetime
    step: timedelta
    policies: tuple[Policy, ...]
    work: Path

    @property
    def steps(self) -> list[datetime]:
        """The days on which policies decide; the first one brings the first champion."""
        count = -(-(self.end - self.start) // self.step)
        return [self.start + number * self.step for number in range(count)]

    @property
    def weeks(self) -> list[datetime]:
        """The first days of the weeks of the results."""
        return [self.start + number * ONE_WEEK for number in range((self.end - self.start) // ONE_WEEK)]

    def fit_key(self, snapshot: str) -> str:
        """Identify what a retrain on a snapshot would fit."""
        return _digest([_sections(self.spec, (*_FIT, *_FIT_ALSO)), self.spec.gate.metric, snapshot])

    @property
    def gate_key(self) -> str:
        """Identify how a challenger is evaluated."""
        return _digest([_sections(self.spec, ("gate", "cluster", "context", "seed"))])

    @property
    def verdict_key(self) -> str:
        """Identify what a verdict on a window depends on, the champion and the day aside."""
        sections = _sections(self.spec, (*_FIT, *_FIT_ALSO, *_VERDICT))
        return _digest(
            [sections, self.history.digest, str(self.history.known), str(self.start), str(self.step)]
        )

    @property
    def spec_key(self) -> str:
        """Identify everything in the spec that a result depends on; where the rows come from is no part of it."""
        return _digest([_sections(self.spec, (*_FIT, *_FIT_ALSO, *_VERDICT, *_REPLAY))])

    def outcome_file(self, policy: Policy) -> Path:
        """Return the path of a policy's outcome."""
        key = _digest([_OUTCOME, self.verdict_key, self.spec_key, str(self.end), repr(policy)])
        return self.work / "outcomes" / f"{policy.name}-{key}.json"

    def interim_file(self, policy: Policy) -> Path:
        """Return the path of the outcome of a policy up to the step that its replay has reached."""
        return self.outcome_file(policy).with_suffix(".interim")

    def progress_file(self, policy: Policy) -> Path:
        """Return the path of a policy's progress file."""
        return self.outcome_file(policy).with_suffix(".progress")

    def facts(self) -> dict[str, Any]:
        """Return what distinguishes this backtest from others, as plain data."""
        return {
            "model": self.spec.name,
            "spec": self.spec_key,
            "history": self.history.digest,
            "start": f"{self.start:%Y-%m-%d}",
            "end": f"{self.end:%Y-%m-%d}",
            "step": format_span(self.step),
            "known": self.history.known,
            "metric": performance_metric(self.spec),
            "may_hurt": round((1 - self.spec.gate.confidence) / 2, 6),
        }

    def to_json(self) -> dict[str, Any]:
        """Return what other processes need to continue this plan, as plain data."""
        return {
            "history": str(self.history.file),
            "known": self.history.known,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "step": format_span(self.step),
            "policies": [policy.name for policy in self.policies],
            "work": str(self.work),
        }

    @classmethod
    def from_json(cls, spec: ModelSpec, data: dict[str, Any]) -> Plan:
        """Read what `to_json` wrote."""
        return cls(
            spec=spec,
            history=BacktestHistory(spec, Path(data["history"]), data["known"]),
            start=whole_day(data["start"]),
            end=whole_day(data["end"]),
            step=parse_span(data["step"]),
            policies=tuple(policies_named(data["policies"])),
            work=Path(data["work"]),
        )


def make_plan(
    spec: ModelSpec,
    work: Path,
    *,
    start: str | None = None,
    end: str | None = None,
    step: timedelta = ONE_WEEK,
    policies: list[str] | tuple[str, ...] = (),
    known: str | None = None,
) -> Plan:
    """Read the history and plan the replay.

    Parameters
    ----------
    start
        Day of the first champion; the first on which its training window is whole, if not given. Without a day of
        its own it falls on a day of the spec's retrain schedule.
    end
        Day after the last; as far as labels have matured, if not given. Cut to whole weeks.
    step
        Whole days between two decisions, at most a quarter.
    policies
        Names; all but the ungated one if none is given.

    Raises
    ------
    SpecError
        The days do not fit the history, or each other.
    """
    chosen = policies_named(policies)
    if step % ONE_DAY or not ONE_DAY <= step <= _LONGEST_STEP:
        raise SpecError(
            f"the step {format_span(step)} is not a number of days up to a quarter", "use 1d to 92d"
        )
    before = spec.split.total + spec.label.delay + ONE_DAY
    since = None if start is None else _day(start) - before
    if since is None and getattr(spec.source, "step", None) is not None:
        raise SpecError(
            f"model {spec.name}: its source is read in steps, which need a first day", "set --start"
        )
    until = None if end is None else _day(end)
    # A little more than is replayed, which tells whether the labels of the last days have come.
    read_to = None if until is None else until + spec.label.delay + ONE_DAY
    history = record_history(spec, work / "history", since=since, until=read_to, known=known)
    first = _day(start) if start else _first_start(spec, history)
    last = min(until, _last_end(spec, history)) if until else _last_end(spec, history)
    weeks = (last - first) // ONE_WEEK
    if weeks < 1:
        raise SpecError(
            f"model {spec.name}: from {first:%Y-%m-%d}, when the first champion could be trained, to {last:%Y-%m-%d}, "
            "the last day with matured labels, there is no whole week",
            "provide more history or shorten `split`; check --start and --end",
        )
    return Plan(spec, history, first, first + weeks * ONE_WEEK, step, tuple(chosen), work)


def _first_start(spec: ModelSpec, history: BacktestHistory) -> datetime:
    """Return the first day with a whole training window, on a day of the retrain schedule if there is one."""
    first = whole_day(history.reach.start) + spec.split.total + spec.label.delay
    day = whole_day(first) if first == whole_day(first) else whole_day(first) + ONE_DAY
    if spec.schedule.retrain is None:
        return day
    from croniter import croniter

    tick: datetime = croniter(spec.schedule.retrain, day - timedelta(seconds=1)).get_next(datetime)
    return whole_day(tick) if tick - day < 2 * ONE_WEEK else day


def _last_end(spec: ModelSpec, history: BacktestHistory) -> datetime:
    return whole_day(history.reach.end + timedelta(microseconds=1) - spec.label.delay)


def _day(text: str) -> datetime:
    try:
        return whole_day(text)
    except ValueError as error:
        raise SpecError(f"{text} is not a day", "write it as 2026-01-31") from error


def _sections(spec: ModelSpec, names: tuple[str, ...]) -> str:
    whole = spec.canonical()
    return json.dumps({name: whole[name] for name in names}, sort_keys=True)


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("|".join([_RECIPE, *parts]).encode()).hexdigest()[:16]
