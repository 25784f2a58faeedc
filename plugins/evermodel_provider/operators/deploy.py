"""Promotion of a registered version to champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import AssetAlias

from evermodel_provider.assets import champion, rollout_wanted
from evermodel_provider.lineage import version_data
from evermodel_provider.links import ModelVersionLink
from evermodel_provider.metrics import count
from evermodel_provider.operators.base import ALIAS, RetrainStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.operators.base import Lineage
    from evermodel_provider.results import DeployResult, PromotionResult, RolloutResult


class DeployOperator(RetrainStepOperator):
    """Promote a version to champion, if the current champion is the one it was evaluated against.

    The version needs the approval that `ApproveOperator` recorded on it, or a decision that requires none. Serving
    processes load the new champion by themselves. If the spec names another strategy than ``direct`` and there
    is a champion, nothing is promoted: the asset event starts the rollout DAG. Returns a `DeployResult`: the promotion, or the
    rollout request under ``rollout``.

    Without `outlets` the task updates the asset `champion` after a promotion, or `rollout_wanted` with a request.

    :param version: The version, as `RegisterOperator` returned it. (templated)
    """

    template_fields: Sequence[str] = (*RetrainStepOperator.template_fields, "version")
    operator_extra_links = (ModelVersionLink(),)

    def __init__(self, *, version: str, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", [AssetAlias(ALIAS)])
        super().__init__(**kwargs)
        self.version = version

    def run_step(self, context: Context) -> DeployResult:
        """Promote the version."""
        if self.spec.rollout.strategy == "direct" or AssetAlias(ALIAS) in self.outlets:
            done = self.perform("deploy", version=str(self.version))
            if "rollout" not in done:
                self.announce(context, champion, version=done["version"])
                return self._promoted(done)
            self.announce(context, rollout_wanted, **_event(done["rollout"]))
        else:
            done = self._for_given_outlets(context)
            if "rollout" not in done:
                return self._promoted(done)
        self.log.info("Rollout of version %s requested (%s)", self.version, done["rollout"]["strategy"])
        return cast("RolloutResult", done)

    def _for_given_outlets(self, context: Context) -> Any:
        """Deploy by a rollout; the asset's event comes in any case, and says what it is."""
        wanted = self.outlet(rollout_wanted)
        done = self.perform("deploy", version=str(self.version))
        request = done.get("rollout")
        # Without a champion the event starts the rollout DAG, which skips.
        context["outlet_events"][wanted].extra = _event(request) if request else {"cold_start": True}
        return done

    def _promoted(self, promotion: PromotionResult) -> PromotionResult:
        before = promotion["previous"] or "none"
        self.log.info("Version %s is the champion (before: %s)", promotion["version"], before)
        count(self.spec.name, "deployed_total")
        return promotion

    def lineage(self, returned: dict[str, Any]) -> Lineage:
        """Return the promoted version; a requested rollout has no output yet."""
        if "rollout" in returned:
            return [], []
        return [], [version_data(self.hook.settings, self.spec.name, returned["version"])]


def _event(request: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key != "strategy"}
