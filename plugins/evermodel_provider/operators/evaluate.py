"""Evaluation of the challenger, and branching by the decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseBranchOperator

from evermodel_provider.metrics import measure
from evermodel_provider.operators.base import SnapshotStepOperator
from evermodel_provider.operators.request import approval_of, force_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.evaluation.decision import Decision


class EvaluateOperator(SnapshotStepOperator):
    """Evaluate the best candidate and the champion on the same rows, and write the decision to MLflow.

    If the DAG has the form of `retrain_form`, it decides whether the challenger is forced and whether an approval is
    required: read from the run itself, because XComs can be written by users. Returns the verdict, whether it may ship,
    and the metric of both.

    :param trained: What the mapped `TrainOperator` returned; failed ones are left out. (templated)
    """

    template_fields: Sequence[str] = (*SnapshotStepOperator.template_fields, "trained")

    def __init__(self, *, trained: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trained = trained

    def run_step(self, context: Context) -> dict[str, Any]:
        """Evaluate the challenger."""
        from evermodel.modeling.training import TrainedCandidate

        trained = [TrainedCandidate(**item) for item in self.trained if item]
        force, (approval, _) = force_of(self.spec, context), approval_of(self.spec, context)
        decision = self.retrain().evaluate(self.snapshot["path"], trained, force, approval)
        self._tell(decision)
        champion = decision.champion[0] if decision.champion else None
        measure(self.spec.name, challenger_metric=decision.challenger[0], champion_metric=champion)
        return {
            "ship": decision.ship,
            "verdict": decision.verdict,
            "candidate": decision.candidate,
            "metric": decision.metric,
            "challenger": decision.challenger[0],
            "champion": champion,
            "decision": decision.digest,
        }

    def _tell(self, decision: Decision) -> None:
        self.log.info("Challenger %s: %s (%s)", decision.candidate, decision.verdict, decision.reason)
        for gate in decision.gates:
            self.log.info(
                "  %-4s %s: %s (threshold: %s)", gate.verdict, gate.name, gate.detail, gate.threshold
            )


class DecideOperator(BaseBranchOperator):
    """Follow one branch if the challenger may be promoted, another if not.

    :param decision: What `EvaluateOperator` returned. (templated)
    :param ship: Task ids to follow if it may be promoted.
    :param keep: Task ids to follow if not.
    """

    template_fields: Sequence[str] = ("decision",)

    def __init__(self, *, decision: Any, ship: list[str], keep: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.decision = decision
        self.ship = ship
        self.keep = keep

    def choose_branch(self, context: Context) -> list[str]:
        """Return the tasks to follow."""
        return self.ship if self.decision["ship"] else self.keep
