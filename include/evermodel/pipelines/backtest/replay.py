"""Replay a history under one policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from evermodel.alerts.incidents.handler import answered
from evermodel.alerts.incidents.state import IncidentState
from evermodel.core.atomic import write_text
from evermodel.core.errors import TrainingError
from evermodel.data.local_engine import one_engine
from evermodel.evaluation.decision import Decision
from evermodel.monitoring.drift.verdict import DriftVerdict, PromotionEffect
from evermodel.monitoring.performance.answers import performance_metric
from evermodel.monitoring.performance.promotion_effect import LEVEL, measured
from evermodel.monitoring.problems import KINDS, Severity
from evermodel.monitoring.retrain_history import Request, severities_of
from evermodel.monitoring.retrain_policy import Past, RetrainRecommendation, recommend_retrain
from evermodel.pipelines.backtest.fits import Challenger, Fits, one_thread
from evermodel.pipelines.backtest.labels import Truth, paired, parts_of_week
from evermodel.pipelines.backtest.outcome import Alert, Exchange, PolicyOutcome, RetrainOfPolicy, Week
from evermodel.pipelines.backtest.plan import ONE_WEEK, Plan
from evermodel.pipelines.backtest.policies import Policy
from evermodel.pipelines.backtest.policy_simulation import PolicySimulation
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

_TOLD = ("open", "escalate", "remind", "resolve")


@dataclass
class Alarms:
    """The incidents of one model, kept in memory; nothing is sent."""

    spec: ModelSpec
    sent: list[Alert] = field(default_factory=list)
    _states: dict[str, IncidentState] = field(default_factory=dict)

    def handle(self, verdict: DriftVerdict, as_of: datetime) -> None:
        """Decide from a verdict which message each kind of problem gets."""
        for kind in KINDS:
            problem = answered(self.spec, verdict, kind)
            if problem is None:
                continue
            state = self._states.get(kind, IncidentState())
            action = state.next_action(problem, as_of, self.spec.alerts.remind)
            self._states[kind] = state.after(action, problem, as_of, origin="replay", version=verdict.version)
            if action in _TOLD:
                self.sent.append(Alert(f"{as_of:%Y-%m-%d}", kind, action, problem.severity))


Progress = Callable[[int, int, PolicyOutcome], None]  # steps done, steps, and the outcome so far


@dataclass
class PolicyReplay:
    """The replay of a model under one policy.

    A day goes as in production: the verdict on the window that ended comes first, then the retrain as of that day, if
    the calendar or the verdict asks for one, and the champion that comes out of it answers from that day on.
    """

    plan: Plan
    policy: Policy
    fits: Fits
    services: list[tuple[PolicySimulation, datetime]] = field(default_factory=list)
    retrains: list[RetrainOfPolicy] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    incident_days: set[date] = field(default_factory=set)
    windows: list[tuple[str, dict[str, Severity]]] = field(default_factory=list)
    weeks: list[Week] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    promotions: dict[int, PromotionEffect] = field(default_factory=dict)
    first_verdict: str = ""
    _margins: dict[int, float] = field(default_factory=dict)
    _pairs: dict[int, list[pa.Table]] = field(default_factory=dict)

    def run(self, progress: Progress = lambda done, of, outcome: None) -> PolicyOutcome:
        """Replay every step, and measure each week that is over; raises `TrainingError` without a first champion."""
        with one_engine():
            return self._run(progress)

    def _run(self, progress: Progress) -> PolicyOutcome:
        steps, alarms = self.plan.steps, Alarms(self.plan.spec)
        self._begin(steps[0])
        for number, now in enumerate(steps[1:], start=1):
            verdict = self._simulation.evaluate(now, frozenset(self.incident_days))
            recommendation = RetrainRecommendation(None, "")
            if verdict is not None:
                alarms.handle(verdict, now)
                recommendation = self._recommendation(verdict, now)
                self._remember(verdict, now)
            due = self.policy.due(self.plan.spec, self.plan.start, steps[number - 1], now)
            if due or recommendation.wanted:
                self._retrain(
                    now, recommendation.note if recommendation.wanted else f"calendar: {self.policy.words}"
                )
            self._measure(now)
            progress(number + 1, len(steps), self._outcome(alarms))
        self._measure(self.plan.end)
        return self._outcome(alarms)

    def _outcome(self, alarms: Alarms) -> PolicyOutcome:
        return PolicyOutcome(
            policy=self.policy.name,
            words=self.policy.words,
            first_verdict=self.first_verdict,
            weeks=tuple(self.weeks),
            retrains=tuple(self.retrains),
            alerts=tuple(alarms.sent),
            exchanges=tuple(self.exchanges),
            promotions=tuple(self.promotions.values()),
        )

    @property
    def _simulation(self) -> PolicySimulation:
        return self.services[-1][0]

    def _begin(self, now: datetime) -> None:
        first = self.fits.challenger(now)
        if first.refused:
            raise TrainingError(
                f"model {self.plan.spec.name}: there is no first champion as of {now:%Y-%m-%d}: {first.refused}",
                "choose a later --start, or fix the data of that time",
            )
        decision = self.fits.judged(first, None)
        self.first_verdict = decision if isinstance(decision, str) else decision.reason
        self.services.append((PolicySimulation(self.plan, first), now))

    def _recommendation(self, verdict: DriftVerdict, now: datetime) -> RetrainRecommendation:
        if self.policy.asks == "nobody":
            return RetrainRecommendation(None, "")
        spec = self.policy.asking(self.plan.spec)
        mine = [found for version, found in reversed(self.windows) if version == verdict.version]
        past = Past(mine[: spec.retrain.windows.of - 1], self.requests, self._simulation.challenger.as_of)
        recommendation = recommend_retrain(spec, verdict, now, past)
        if recommendation.wanted:
            self.requests.append(Request(f"replay/{now:%Y-%m-%d}", now.isoformat(), recommendation.note))
        return recommendation

    def _remember(self, verdict: DriftVerdict, now: datetime) -> None:
        found = severities_of(verdict)
        self.windows.append((verdict.version, found))
        if found.get("quality", "none") != "none" or found.get("performance") == "critical":
            self.incident_days.add(now.date())

    def _retrain(self, now: datetime, reason: str) -> None:
        champion = self._simulation.challenger
        challenger = self.fits.challenger(now)
        decision = self.fits.judged(challenger, champion)
        shipped = not challenger.refused and self._ships(decision)
        if shipped:
            first = self.services[0][0]
            margin = None if isinstance(decision, str) else decision.margin
            self._margins[len(self.services)] = margin or 0.0
            self.services.append((PolicySimulation(self.plan, challenger, first), now))
        self.retrains.append(_retrained(challenger, decision, shipped, champion.version, reason))

    def _ships(self, decision: Decision | str) -> bool:
        if not self.policy.gated:
            return True
        return not isinstance(decision, str) and decision.ship

    @cached_property
    def _truth(self) -> Truth:
        return Truth(self.plan)

    def _measure(self, until: datetime) -> None:
        """Measure the weeks that are over by a moment."""
        import pyarrow as pa

        ends = [since for _, since in self.services[1:]] + [self.plan.end]
        spans = [(since, end) for (_, since), end in zip(self.services, ends, strict=True)]
        over = [start for start in self.plan.weeks[len(self.weeks) :] if start + ONE_WEEK <= until]
        with one_thread():
            for start in over:
                parts = parts_of_week(start, spans)
                answers = [
                    self.services[number][0].answers(Window(first, last)) for number, first, last in parts
                ]
                versions = tuple(self.services[number][0].version for number, _, _ in parts)
                self.weeks.append(self._truth.week(start, versions, pa.concat_tables(answers)))
                for (number, first, last), now in zip(parts, answers, strict=True):
                    if number > 0:
                        old = self.services[number - 1][0]
                        before = old.answers(Window(first, last))
                        new = self.services[number][0].version
                        found = self._truth.exchange(first, new, old.version, now, before)
                        self.exchanges += [found] if found else []
                        self._pairs.setdefault(number, []).append(paired(self._truth, now, before))
                        self.promotions[number] = self._promotion(number)

    def _promotion(self, number: int) -> PromotionEffect:
        """Compare a champion with the one that it replaced, over all weeks that it has served."""
        import pyarrow as pa

        spec, (new, since), (old, _) = self.plan.spec, self.services[number], self.services[number - 1]
        unknown = PromotionEffect(
            version=new.version,
            replaced=old.version,
            metric=performance_metric(spec),
            since=since.isoformat(),
            margin=self._margins[number],
            level=LEVEL,
        )
        return measured(spec, unknown, pa.concat_tables(self._pairs[number]))


def replay_policy(plan: Plan, policy: Policy) -> PolicyOutcome:
    """Replay one policy, or read its stored outcome; a progress file shows the state."""
    file, noted = plan.outcome_file(policy), plan.progress_file(policy)
    if not file.exists():
        fits = Fits(plan)
        interim = plan.interim_file(policy)

        def keep(done: int, of: int, so_far: PolicyOutcome) -> None:
            write_text(interim, json.dumps(asdict(so_far)))
            write_text(noted, f"{done}/{of}")

        outcome = PolicyReplay(plan, policy, fits).run(keep)
        write_text(file, json.dumps(asdict(outcome)))
        for done in (noted, interim):
            done.unlink(missing_ok=True)
    return read_outcome(file)


def read_outcome(file: Path) -> PolicyOutcome:
    """Read a stored outcome."""
    return TypeAdapter(PolicyOutcome).validate_json(file.read_bytes())


def _retrained(
    challenger: Challenger, decision: Decision | str, shipped: bool, champion: str, reason: str
) -> RetrainOfPolicy:
    if isinstance(decision, str):
        verdict = decision
    else:
        verdict = decision.verdict if decision.ship else f"{decision.verdict}; {decision.reason}"
    return RetrainOfPolicy(
        as_of=challenger.version,
        reason=reason,
        shipped=shipped,
        verdict=verdict,
        candidate=challenger.candidate,
        replaced=champion if shipped else "",
        rows=challenger.rows,
        seconds=challenger.seconds,
    )
