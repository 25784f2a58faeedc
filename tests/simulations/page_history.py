"""A year of made-up history of many models, written into MLflow's own database: what the Models page is measured on."""

from __future__ import annotations

import json
import math
import random
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evermodel.alerts.incidents.state import Incident, IncidentState
from evermodel.alerts.incidents.store import Transition
from evermodel.evaluation.decision import Decision, Gate
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict, Performance
from evermodel.monitoring.problems import Problem, Severity, worst_of
from evermodel.monitoring.retrain_history import tags_of
from evermodel.monitoring.summary_tags import decision_tag
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.tags import INCIDENTS, RETRAIN_ANSWER, TRAFFIC_PLAN
from evermodel.registry.traffic_plan import TrafficPlan, split

DAY = timedelta(days=1)
COLUMNS = ("tenure", "monthly_charges", "contract", "region", "visits", "basket", "age", "channel")
NAMES = ("churn", "credit_risk", "basket_value", "fraud", "lead_score", "demand", "late_delivery", "upsell")
# How the last retrain of each model ends, one after the other: a list of models shows every kind.
ENDINGS = (
    "deployed", "waits for approval", "kept the champion", "deployed", "rolling out", "rejected", "kept the champion", "forced",
)  # fmt: skip
_EXPERIMENTS = ("", "-monitoring", "-rollouts")
_HAPPENED = ("open", "escalate", "resolve")


@dataclass
class Story:
    """What happens to one model: its metric wanders, sometimes the world changes, and a retrain repairs it."""

    name: str
    rng: random.Random
    promised: float = 0.74
    skill: float = 0.74
    version: int = 0
    latest: int = 0
    trouble: int = 0
    open: dict[str, Incident] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    promotions: list[Promotion] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)
    plan: TrafficPlan | None = None

    def next_day(self, day: datetime) -> tuple[DriftVerdict, list[Transition]]:
        """Live one day, and return its verdict and what happened to incidents."""
        rng = self.rng
        if self.trouble == 0 and rng.random() < 0.012:
            self.trouble = rng.randint(6, 30)
        drifting = self.trouble > 0
        self.trouble = max(0, self.trouble - 1)
        self.skill -= 0.004 * drifting + 0.0002
        value = self.skill + rng.gauss(0, 0.006)
        width = 0.014 + 0.004 * rng.random()
        short = self.promised - value
        performance: Severity = "critical" if short > 0.06 else "warning" if short > 0.035 else "none"
        drift: Severity = "none" if not drifting else "critical" if self.trouble < 12 else "warning"
        problems = (
            Problem("drift", drift, f"2 of {len(COLUMNS)} columns drift" if drifting else "no column drifts"),
            Problem("quality", "none", "no problem with the data"),
            Problem(
                "performance", performance,
                f"roc_auc {value:.3f} ({value - width:.3f} to {value + width:.3f}) on 5,120 labels, promised {self.promised:.3f}",
            ),
            Problem("serving", "none", "within its objectives"),
        )  # fmt: skip
        verdict = DriftVerdict(
            self.name, str(self.version), (day - 7 * DAY).isoformat(), day.isoformat(), "training", 40_000, 5_400, 0.01,
            worst_of(p.severity for p in problems), problems[0].reason, problems,
            Performance("roc_auc", 5120, value, value - width, value + width, self.promised),
            tuple(_column(c, rng, drift if n < 2 else "none") for n, c in enumerate(COLUMNS)),
        )  # fmt: skip
        return verdict, [t for p in problems if (t := self._incident(p, day)) is not None]

    def retrain(self, day: datetime, reason: str, ending: str = "") -> tuple[Decision, str]:
        """Judge a challenger, and return the decision and what came of it.

        Parameters
        ----------
        ending
            What is to come of it, one of `ENDINGS`; chance decides if it is empty.
        """
        rng = self.rng
        value, current = 0.735 + rng.gauss(0, 0.008), self.skill
        if ending in ("kept the champion", "forced"):
            value = min(value, current + 0.008)
        elif ending:
            value = max(value, current + 0.013 + 0.004 * rng.random())
        gain, forced = value - current, ending == "forced"
        better = self.version == 0 or gain > 0.012
        ship = forced or better
        verdict = "cold_start" if self.version == 0 else "better" if better else "not_enough_evidence"
        outcome = ending or ("kept the champion" if not ship else self._chance())
        gates = (
            Gate("comparison", "pass" if better else "fail", gain, "margin 0.01", f"gain {gain:+.4f} ({gain - 0.01:+.4f} to {gain + 0.01:+.4f})"),
            Gate("floor roc_auc", "pass", value, "at least 0.65", f"roc_auc {value:.4f} on 6,018 test rows"),
            Gate("calibration", "pass", 0.018, "at most 0.05", "expected calibration error 0.018"),
            Gate("slice region=north", "pass" if rng.random() > 0.15 else "warn", value - 0.01, "loss at most 0.03", "312 rows"),
            Gate("latency p99", "pass", 2.4, "at most 20 ms", "2.4 ms on the path that serves"),
        )  # fmt: skip
        key = f"retrain/{self.name}/scheduled__{day:%Y-%m-%dT06:00:00+00:00}"
        decision = Decision(
            self.name, key, rng.choice(("boosted_trees", "logistic")), "models:/m-1", str(self.version) if self.version else None,
            "roc_auc", verdict, ship, forced, _why(better, forced),
            6018, (value, value - 0.013, value + 0.013),
            (current, current - 0.013, current + 0.013) if self.version else None, (gain, gain - 0.01, gain + 0.01) if self.version else None, gates,
        )  # fmt: skip
        if ship:
            self._carry_out(day, reason, key, outcome, value)
        return decision, "deployed" if forced else outcome

    def _chance(self) -> str:
        if self.version == 0:
            return "deployed"
        return self.rng.choices(("deployed", "rejected", "sent back"), (8, 1, 2))[0]

    def _carry_out(self, day: datetime, reason: str, key: str, outcome: str, value: float) -> None:
        """Register the version, and do with it what came of it."""
        self.latest += 1
        if outcome == "rejected":
            self.rejected[self.latest] = self.rng.choice(("ml_lead", "nobody (time-out)"))
        if outcome == "rolling out":
            since, old, new = day.isoformat(), str(self.version), str(self.latest)
            self.plan = TrafficPlan(
                self.name, "canary", old, new, split(old, new, 0.25), "salt", since, since, "ml_lead", reason, f"rollout/{key}", step=2,
            )  # fmt: skip
        if outcome not in ("deployed", "forced"):
            return
        before = str(self.version) if self.version else None
        self.version = self.latest
        self.promised, self.skill, self.trouble = value, value, 0
        at = (day + timedelta(hours=6 if before is None else 14, minutes=20)).isoformat()
        by = self.rng.choice(("auto", "ml_lead", "risk_office"))
        self.promotions.append(Promotion(str(self.version), before, at, by, reason, key))

    def _incident(self, problem: Problem, day: datetime) -> Transition | None:
        known = self.open.get(problem.kind)
        if known is None and problem.severity == "none":
            return None
        now = day.isoformat()
        if known is None:
            self.counts[problem.kind] = self.counts.get(problem.kind, 0) + 1
            name = f"{problem.kind}-{self.counts[problem.kind]}"
            self.open[problem.kind] = Incident(
                name, now, problem.severity, problem.severity, now, "tenure and contract moved together", str(self.version)
            )  # fmt: skip
            return _transition("open", self.open[problem.kind], problem, now)
        if problem.severity == "none":
            return _transition("resolve", self.open.pop(problem.kind), problem, now)
        if problem.severity == "critical" and known.severity == "warning":
            self.open[problem.kind] = Incident(
                **{**asdict(known), "severity": "critical", "current": "critical"}
            )
            return _transition("escalate", self.open[problem.kind], problem, now)
        return None


def model_names(models: int) -> list[str]:
    """Return so many names."""
    return [NAMES[n] if n < len(NAMES) else f"{NAMES[n % len(NAMES)]}_{n:03d}" for n in range(models)]


def write_history(database: Path, models: int, days: int, end: datetime, seed: int = 7) -> int:
    """Write models with daily verdicts and weekly retrains into an MLflow database, and return the number of runs.

    Parameters
    ----------
    database
        SQLite file that an MLflow server has made.
    end
        The last day.
    """
    base = sqlite3.connect(database, timeout=60)
    with base:
        first = base.execute("SELECT coalesce(max(experiment_id), 0) + 1 FROM experiments").fetchone()[0]
        total = 0
        for number, name in enumerate(model_names(models)):
            story = Story(name, random.Random(seed * 1000 + number))
            experiment = first + len(_EXPERIMENTS) * number
            rows = list(_life(story, experiment, end - days * DAY, days, ENDINGS[number % len(ENDINGS)]))
            _insert(base, rows)
            _register(base, story, experiment, end)
            total += len(rows)
    base.close()
    return total


def _life(story: Story, experiment: int, start: datetime, days: int, ending: str) -> Iterator[dict[str, Any]]:
    """Live day after day; yields the runs."""
    weekday = story.rng.randrange(7)
    last = days - min(story.rng.randrange(1, 4), days - 1)
    yield from _retrain_runs(story, experiment, start, "first version")
    for number in range(1, days + 1):
        day = start + number * DAY
        verdict, transitions = story.next_day(day)
        tags = {**tags_of(verdict), RETRAIN_ANSWER: "no retrain: the policy asks on critical"}
        if transitions:
            tags[INCIDENTS] = json.dumps([asdict(t) for t in transitions])
        asked = "drift" in story.open and story.open["drift"].current == "critical" and number % 5 == 0
        metrics = {f"psi_{c.column}": c.effect for c in verdict.columns}
        metrics |= {"window_rows": 5400.0, "matured_roc_auc": verdict.performance.value or 0.0}
        yield _run(f"drift/{story.name}/{day:%Y-%m-%d}", "drift", experiment + 1, day, tags, metrics)
        if number == last:
            yield from _retrain_runs(story, experiment, day, "weekly schedule", ending)
        elif number < last - 2 and (number % 7 == weekday or asked):
            reason = "drift: tenure is critical" if asked else "weekly schedule"
            yield from _retrain_runs(story, experiment, day, reason)


def _retrain_runs(
    story: Story, experiment: int, day: datetime, reason: str, ending: str = ""
) -> Iterator[dict[str, Any]]:
    """Return the run of a retrain, and that of its rollout."""
    before = story.version
    decision, outcome = story.retrain(day, reason, ending)
    said = "rejected" if outcome == "sent back" else outcome
    tags = {
        "evermodel.as_of": day.isoformat(), "evermodel.reason": reason, "evermodel.verdict": decision.verdict,
        "evermodel.ship": str(decision.ship).lower(), "evermodel.candidate": decision.candidate, "evermodel.metric": "roc_auc",
        "evermodel.forced": str(decision.forced).lower(), "evermodel.outcome": said,
        "evermodel.airflow_run": decision.run_key.rsplit("/", 1)[1], **decision_tag(decision),
    }  # fmt: skip
    if decision.ship:
        tags["evermodel.version"] = str(story.latest)
    gain = decision.gain or (0.0, 0.0, 0.0)
    metrics = {
        "test_roc_auc": decision.challenger[0],
        "gain": gain[0],
        "gain_low": gain[1],
        "gain_high": gain[2],
    }
    yield _run(decision.run_key, "retrain", experiment, day, tags, metrics)
    if before and outcome in _ROLLOUTS and not decision.forced:
        yield _rollout_run(story, experiment + 2, day, decision.run_key, reason, outcome)


_ROLLOUTS = {
    "deployed": ("promoted", "no guardrail was hit, and the labels say better", 8),
    "sent back": ("rolled_back", "errors: 1.9 % of 41,200 answers, the champion 0.4 %", 3),
    "rolling out": ("", "", 0),
}


def _rollout_run(
    story: Story, experiment: int, day: datetime, key: str, reason: str, outcome: str
) -> dict[str, Any]:
    state, why, hours = _ROLLOUTS[outcome]
    tags = {
        "evermodel.strategy": "canary", "evermodel.version": str(story.latest), "evermodel.reason": reason,
        **({"evermodel.outcome": state, "evermodel.why": why} if state else {}),
    }  # fmt: skip
    run = _run(f"rollout/{key}", "rollout", experiment, day, tags, {})
    return {**run, "end": run["start"] + hours * 3_600_000 if hours else None}


def _run(
    key: str, kind: str, experiment: int, day: datetime, tags: dict[str, str], metrics: dict[str, float]
) -> dict[str, Any]:
    start = round((day + timedelta(hours=6)).timestamp() * 1000)
    return {
        "id": uuid.uuid5(uuid.NAMESPACE_URL, key).hex, "name": f"{kind} {day:%Y-%m-%d}", "experiment": experiment, "start": start,
        "tags": {"evermodel.run_key": key, "evermodel.kind": kind, "mlflow.runName": f"{kind} {day:%Y-%m-%d}", **tags},
        "metrics": metrics, "end": start + 60_000,
    }  # fmt: skip


def _insert(base: sqlite3.Connection, runs: list[dict[str, Any]]) -> None:
    base.executemany(
        "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, "
        "end_time, source_version, lifecycle_stage, artifact_uri, experiment_id) "
        "VALUES (?, ?, 'UNKNOWN', '', '', 'history', ?, ?, ?, '', 'active', ?, ?)",
        [
            (r["id"], r["name"], "FINISHED" if r["end"] else "RUNNING", r["start"], r["end"], f"mlflow-artifacts:/{r['experiment']}/{r['id']}/artifacts", r["experiment"])
            for r in runs
        ],
    )  # fmt: skip
    tags = [(key, value, run["id"]) for run in runs for key, value in run["tags"].items()]
    base.executemany("INSERT INTO tags VALUES (?, ?, ?)", tags)
    metrics = [(key, value, run["start"], run["id"]) for run in runs for key, value in run["metrics"].items()]
    base.executemany("INSERT INTO latest_metrics VALUES (?, ?, ?, 0, 0, ?)", metrics)


def _register(base: sqlite3.Connection, story: Story, experiment: int, end: datetime) -> None:
    now = round(end.timestamp() * 1000)
    for identity, kind in enumerate(_EXPERIMENTS, experiment):
        name = f"{story.name}{kind}"
        base.execute(
            "INSERT INTO experiments VALUES (?, ?, ?, 'active', ?, ?, 'default')",
            (identity, name, f"mlflow-artifacts:/{identity}", now, now),
        )
    base.execute("INSERT INTO registered_models VALUES (?, ?, ?, '', 'default')", (story.name, now, now))
    books = {
        k: asdict(IncidentState(last=end.isoformat(), count=story.counts[k], incident=i)) for k, i in story.open.items()
    }  # fmt: skip
    tags = {
        f"evermodel.promotion.{n:04d}": {"promotion": asdict(p), "complete": True}
        for n, p in enumerate(story.promotions)
    }
    if story.plan is not None:
        tags[TRAFFIC_PLAN] = story.plan.to_json()
    base.executemany(
        "INSERT INTO registered_model_tags VALUES (?, ?, ?, 'default')",
        [(key, json.dumps(value), story.name) for key, value in {**tags, INCIDENTS: books}.items()],
    )
    versions = range(1, story.latest + 1)
    base.executemany(
        "INSERT INTO model_versions VALUES (?, ?, ?, ?, '', '', 'None', 'models:/m-1', '', 'READY', '', '', '', 'default')",
        [(story.name, version, now, now) for version in versions],
    )
    base.executemany(
        "INSERT INTO model_version_tags (name, version, key, value, workspace) VALUES (?, ?, 'evermodel.rejected_by', ?, 'default')",
        [(story.name, version, by) for version, by in story.rejected.items()],
    )
    previous = story.promotions[-1].previous
    aliases: dict[str, Any] = {"champion": story.version, **({"previous": previous} if previous else {})}
    if story.latest > story.version:
        aliases["challenger"] = story.latest
    base.executemany(
        "INSERT INTO registered_model_aliases VALUES (?, ?, ?, 'default')",
        [(alias, version, story.name) for alias, version in aliases.items()],
    )


def _column(name: str, rng: random.Random, severity: Severity) -> ColumnDrift:
    effect = abs(rng.gauss(0.02, 0.015)) + {"none": 0.0, "warning": 0.14, "critical": 0.35}[severity]
    return ColumnDrift(
        column=name, kind="numeric", what="feature", measure="PSI", effect=effect, low=0.9 * effect,
        high=1.1 * effect, calm=0.1, threshold=0.1, p_value=math.exp(-40 * effect), reference="training",
        severity=severity, summary="median moved" if severity != "none" else "",
    )  # fmt: skip


def _why(better: bool, forced: bool) -> str:
    if forced:
        return "forced by ml_lead: the new price list starts tomorrow"
    return (
        "the interval of the gain lies above 0"
        if better
        else "the interval of the gain reaches below the margin"
    )


def _transition(action: str, incident: Incident, problem: Problem, at: str) -> Transition:
    assert action in _HAPPENED
    kind = incident.id.rsplit("-", 1)[0]
    return Transition(
        incident.id, kind, action, incident.severity, at, incident.opened, incident.version, problem.reason, incident.cause  # type: ignore[arg-type]
    )  # fmt: skip


def last_midnight() -> datetime:
    """Return the last midnight, UTC."""
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
