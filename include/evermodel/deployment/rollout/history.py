"""The MLflow run of a rollout: every look with its figures, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from evermodel.deployment.rollout.evidence import Evidence
from evermodel.deployment.rollout.plan import TrafficPlan, stamp
from evermodel.deployment.rollout.verdict import Verdict
from evermodel.registry.serving_heartbeats import VersionCounts
from evermodel.registry.tags import OUTCOME, REASON, STATE, STRATEGY, VERSION, WHY
from evermodel.registry.tracking import keyed_run, log_json, read_json
from evermodel.stats.sequential import Moments

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, Run

ROLLOUT = "rollout"
FILE = "rollout.json"
_MOST_LOOKS = 2000


class StoredLook(TypedDict):
    """One look in `rollout.json`."""

    at: str
    revision: int
    step: int
    move: str
    why: str
    figures: dict[str, float | None]


class StoredLosses(TypedDict):
    """What labels said at a revision of the plan: the moments of each version's losses."""

    at: str
    revision: int
    by_version: dict[str, dict[str, Any]]


class StoredRollout(TypedDict):
    """What `rollout.json` holds."""

    plan: dict[str, Any]
    looks: list[StoredLook]
    baseline: NotRequired[dict[str, Any]]
    losses: NotRequired[StoredLosses]


@dataclass(frozen=True)
class RolloutRecord:
    """What a rollout leaves in MLflow: one run, with `rollout.json` and the figures of every look as metrics.

    Parameters
    ----------
    plan
        Any plan of the rollout.
    """

    client: MlflowClient
    plan: TrafficPlan

    def run(self, tags: Mapping[str, str] | None = None) -> Run:
        """Find or make the run."""
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
        """Write the first plan, unless something is written already."""
        run = self.run()
        if not self._stored(run):
            log_json(self.client, run.info.run_id, {"plan": self.plan.to_json(), "looks": []}, FILE)

    def read(self) -> StoredRollout:
        """Return what `rollout.json` holds."""
        return self._stored(self.run()) or {"plan": self.plan.to_json(), "looks": []}

    def look(self, stored: StoredRollout, evidence: Evidence, verdict: Verdict, now: datetime) -> None:
        """Add one look.

        Parameters
        ----------
        stored
            What `read` returned.
        """
        looks: list[StoredLook] = [
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
        log_json(self.client, run_id, {**stored, "looks": _thinned(looks)}, FILE)
        self._metrics(run_id, verdict.figures, len(stored["looks"]))

    @property
    def noted(self) -> bool:
        """Tell whether it was noted how the rollout ended."""
        return not {STATE, OUTCOME}.isdisjoint(self.run().data.tags)  # where it was kept before

    def end(self) -> None:
        """Note how it ended."""
        run = self.run({WHY: self.plan.verdict[:4000], STATE: self.plan.state})
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
    """Return when labels were last read, and what they said; nothing if that was about another step.

    Parameters
    ----------
    revision
        Of the plan whose step the losses have to be of; None: of any.
    """
    kept = stored.get("losses")
    if not kept or (revision is not None and kept["revision"] != revision):
        return "", {}
    return kept["at"], {version: Moments(**moments) for version, moments in kept["by_version"].items()}


def with_losses(
    stored: StoredRollout, losses: Mapping[str, Moments], revision: int, now: datetime
) -> StoredRollout:
    """Return the record with what labels said."""
    said = {version: asdict(moments) for version, moments in losses.items()}
    return {**stored, "losses": {"at": stamp(now), "revision": revision, "by_version": said}}


def rollout_baseline(stored: StoredRollout) -> VersionCounts | None:
    """Return what the champion counted before everything was switched away from it."""
    kept = stored.get("baseline")
    return VersionCounts(**kept) if kept else None


def _plain(value: float) -> float | None:
    """Return a figure that JSON and MLflow can hold."""
    return float(value) if abs(value) < float("inf") else None


def _thinned(looks: list[StoredLook]) -> list[StoredLook]:
    """Leave out every other look of the older half that moved nothing, once there are very many."""
    if len(looks) <= _MOST_LOOKS:
        return looks
    half = len(looks) // 2
    older = [look for place, look in enumerate(looks[:half]) if look["move"] != "stay" or place % 2]
    return [*older, *looks[half:]]
