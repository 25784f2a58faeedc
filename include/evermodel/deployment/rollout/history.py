"""The record of a rollout: an MLflow run with every evaluation and its figures, and the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from evermodel.deployment.rollout.evidence import Evidence, Verdict
from evermodel.registry.retrain_run import note_outcome
from evermodel.registry.serving_heartbeats import VersionCounts
from evermodel.registry.tags import (
    OUTCOME,
    REASON,
    ROLLOUT_OUTCOME,
    ROLLOUT_REASON,
    STATE,
    STRATEGY,
    VERSION,
    WHY,
    RetrainOutcome,
)
from evermodel.registry.tracking import keyed_run, log_json, read_json
from evermodel.registry.traffic_plan import PlanState, TrafficPlan, stamp
from evermodel.stats.sequential import Moments

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, Run

ROLLOUT = "rollout"
FILE = "rollout.json"
_MOST_EVALUATIONS = 2000
_OUTCOMES: dict[PlanState, RetrainOutcome] = {
    "promoted": RetrainOutcome.DEPLOYED,
    "rolled_back": RetrainOutcome.REJECTED,
    "stopped": RetrainOutcome.STOPPED,
}


class StoredEvaluation(TypedDict):
    """One evaluation in `rollout.json`."""

    at: str
    revision: int
    step: int
    move: str
    why: str
    figures: dict[str, float | None]


class StoredLosses(TypedDict):
    """The losses at a revision of the plan: the moments of each version's losses."""

    at: str
    revision: int
    by_version: dict[str, dict[str, Any]]


class StoredRollout(TypedDict):
    """The content of `rollout.json`."""

    plan: dict[str, Any]
    looks: list[StoredEvaluation]
    baseline: NotRequired[dict[str, Any]]
    losses: NotRequired[StoredLosses]


@dataclass(frozen=True)
class RolloutRecord:
    """The record of a rollout in MLflow: one run, with `rollout.json` and the figures of each evaluation as metrics."""

    client: MlflowClient
    plan: TrafficPlan

    def run(self, tags: Mapping[str, str] | None = None) -> Run:
        """Find or create the run."""
        plan = self.plan
        name = f"{plan.strategy.replace('_', ' ')} of version {plan.challenger}"
        known = {
            STRATEGY: plan.strategy,
            VERSION: plan.challenger,
            REASON: plan.reason,
        }
        experiment = f"{plan.model}-rollouts"
        return keyed_run(
            self.client, experiment, plan.run_key, kind=ROLLOUT, name=name, tags={**known, **(tags or {})}
        )

    def open(self) -> None:
        """Write the first plan, unless the record exists."""
        run = self.run()
        if not self._stored(run):
            log_json(self.client, run.info.run_id, {"plan": self.plan.to_json(), "looks": []}, FILE)

    def read(self) -> StoredRollout:
        """Return the content of `rollout.json`."""
        return self._stored(self.run()) or {"plan": self.plan.to_json(), "looks": []}

    def add(self, stored: StoredRollout, evidence: Evidence, verdict: Verdict, now: datetime) -> None:
        """Add one evaluation."""
        evaluations: list[StoredEvaluation] = [
            *stored["looks"],
            {
                "at": stamp(now),
                "revision": self.plan.revision,
                "step": self.plan.step,
                "move": verdict.move,
                "why": verdict.why,
                "figures": {name: _plain(value) for name, value in verdict.figures.items()},
            },
        ]
        if verdict.move == "promote" and verdict.plan is not None:
            stored = {**stored, "baseline": asdict(evidence.of(self.plan.champion))}
        run_id = self.run().info.run_id
        log_json(self.client, run_id, {**stored, "looks": _thinned(evaluations)}, FILE)
        self._metrics(run_id, verdict.figures, len(stored["looks"]))

    def record_end(self) -> None:
        """Record the end of the rollout on its version, on the version's retrain and on the run, once."""
        plan = self.plan
        # OUTCOME has the state in records of earlier releases.
        if plan.state == "running" or not {STATE, OUTCOME}.isdisjoint(self.run().data.tags):
            return
        outcome = "rejected" if plan.state == "rolled_back" else plan.state
        version = self.client.get_model_version(plan.model, plan.challenger)
        for tag, value in ((ROLLOUT_OUTCOME, outcome), (ROLLOUT_REASON, plan.verdict[:1000])):
            self.client.set_model_version_tag(plan.model, plan.challenger, tag, value)
        note_outcome(self.client, version, _OUTCOMES[plan.state])
        # The run is last: a process that is killed before does all of this again.
        run = self.run({WHY: plan.verdict[:4000], STATE: plan.state})
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def _stored(self, run: Run) -> StoredRollout | None:
        run_id = run.info.run_id
        if all(artifact.path != FILE for artifact in self.client.list_artifacts(run_id)):
            return None
        found: StoredRollout = read_json(self.client, run_id, FILE)
        return found

    def _metrics(self, run_id: str, figures: Mapping[str, float], step: int) -> None:
        import time

        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        known = {name: _plain(value) for name, value in figures.items()}
        metrics = [Metric(name, value, now, step) for name, value in known.items() if value is not None]
        self.client.log_batch(run_id, metrics=metrics)


def known_losses(stored: StoredRollout, revision: int | None) -> tuple[str, dict[str, Moments]]:
    """Return the time of the last read of labels, and the losses; empty if they are of another step.

    Parameters
    ----------
    revision
        Revision of the plan whose step is needed; None: any.
    """
    found = stored.get("losses")
    if not found or (revision is not None and found["revision"] != revision):
        return "", {}
    return found["at"], {version: Moments(**moments) for version, moments in found["by_version"].items()}


def with_losses(
    stored: StoredRollout, losses: Mapping[str, Moments], revision: int, now: datetime
) -> StoredRollout:
    """Return the record with the losses."""
    by_version = {version: asdict(moments) for version, moments in losses.items()}
    return {**stored, "losses": {"at": stamp(now), "revision": revision, "by_version": by_version}}


def rollout_baseline(stored: StoredRollout) -> VersionCounts | None:
    """Return the champion's counts before all requests were switched to the challenger."""
    kept = stored.get("baseline")
    return VersionCounts(**kept) if kept else None


def _plain(value: float) -> float | None:
    """Return a figure, or None if JSON and MLflow cannot store it."""
    return float(value) if abs(value) < float("inf") else None


def _thinned(evaluations: list[StoredEvaluation]) -> list[StoredEvaluation]:
    """Drop every other evaluation without a move from the older half, if there are very many."""
    if len(evaluations) <= _MOST_EVALUATIONS:
        return evaluations
    half = len(evaluations) // 2
    older = [one for place, one in enumerate(evaluations[:half]) if one["move"] != "stay" or place % 2]
    return [*older, *evaluations[half:]]
