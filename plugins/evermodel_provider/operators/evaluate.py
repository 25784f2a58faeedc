"""Evaluation of the challenger, and branching by the decision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import BaseBranchOperator

from evermodel_provider.links import DecisionLink, MlflowRunLink
from evermodel_provider.metrics import measure
from evermodel_provider.operators.base import SnapshotStepOperator, native
from evermodel_provider.operators.request import approval_of, force_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.results import DecisionResult


class EvaluateOperator(SnapshotStepOperator):
    """Evaluate the best candidate and the champion on the same rows, and write the decision to MLflow.

    If the DAG has the form of `retrain_form`, it decides whether the challenger is forced and whether an approval is
    required: read from the run itself, because XComs can be written by users. Returns a `DecisionResult`: verdict, whether
    it may ship, and the metric of both.

    :param trained: What the mapped `TrainOperator` returned; failed ones are left out. (templated)
    """

    kind = "training"
    operator_extra_links = (
        DecisionLink(),
        MlflowRunLink(),
    )
    template_fields: Sequence[str] = (*SnapshotStepOperator.template_fields, "trained")
    objects = ("snapshot", "trained")

    def __init__(self, *, trained: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trained = trained

    def run_step(self, context: Context) -> DecisionResult:
        """Evaluate the challenger."""
        force, (approval, waived) = force_of(self.spec, context), approval_of(self.spec, context)
        inputs = {"snapshot": self.snapshot, "trained": list(self.trained), "approval": approval}
        decision = self.run("evaluate", self.request(inputs), force_reason=force, waived=waived)
        gates = decision.pop("gates")
        self.log.info(
            "Challenger %s: %s (%s)", decision["candidate"], decision["verdict"], decision.pop("reason")
        )
        for gate in gates:
            said = (gate["verdict"], gate["name"], gate["detail"], gate["threshold"])
            self.log.info("  %-4s %s: %s (threshold: %s)", *said)
        challenger, champion = decision["challenger"], decision["champion"]
        measure(self.spec.name, challenger_metric=challenger, champion_metric=champion)
        return cast("DecisionResult", decision)


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
        return self.ship if native(self.decision)["ship"] else self.keep
