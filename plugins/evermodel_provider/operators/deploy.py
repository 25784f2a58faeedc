"""Promotion of a registered version to champion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evermodel_provider.assets import rollout_wanted
from evermodel_provider.lineage import version_data
from evermodel_provider.metrics import count
from evermodel_provider.operators.base import RetrainStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.operators.base import Lineage


class DeployOperator(RetrainStepOperator):
    """Promote a version to champion, if the current champion is the one it was evaluated against.

    The version needs the approval that `ApproveOperator` recorded on it, or a decision that requires none. Serving
    processes load the new champion by themselves. If the spec names another strategy than ``direct`` and there
    is a champion, nothing is promoted: the asset event starts the rollout DAG. Returns the promotion, or the rollout
    request under ``rollout``.

    :param version: The version, as `RegisterOperator` returned it. (templated)
    """

    template_fields: Sequence[str] = (*RetrainStepOperator.template_fields, "version")

    def __init__(self, *, version: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version

    def run_step(self, context: Context) -> dict[str, Any]:
        """Promote the version."""
        if self.spec.rollout.strategy == "direct":
            return self._promoted(self.perform("deploy", version=str(self.version)))
        wanted = self.outlet(rollout_wanted)
        done = self.perform("deploy", version=str(self.version))
        request = done.get("rollout")
        if request is None:
            context["outlet_events"][wanted].extra = {"cold_start": True}  # starts the DAG, which skips
            return self._promoted(done)
        context["outlet_events"][wanted].extra = {k: v for k, v in request.items() if k != "strategy"}
        self.log.info("Rollout of version %s requested (%s)", self.version, request["strategy"])
        return done

    def _promoted(self, promotion: dict[str, Any]) -> dict[str, Any]:
        before = promotion["previous"] or "none"
        self.log.info("Version %s is the champion (before: %s)", promotion["version"], before)
        count(self.spec.name, "deployed_total")
        return promotion

    def lineage(self, returned: dict[str, Any]) -> Lineage:
        """Return the promoted version; a requested rollout has no output yet."""
        if "rollout" in returned:
            return [], []
        return [], [version_data(self.hook.settings, self.spec.name, returned["version"])]
