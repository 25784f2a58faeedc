"""Rollback to an earlier champion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import AssetAlias, Param

from evermodel.core.step_contract import StepRequest
from evermodel_provider.assets import champion
from evermodel_provider.links import ModelVersionLink
from evermodel_provider.operators.base import ALIAS, ModelOperator, optional, run_url
from evermodel_provider.run_notes import leave_note, told_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.results import PromotionResult


def rollback_form() -> dict[str, Param]:
    """Return the form of a rollback."""
    return {
        "version": optional(
            "Version",
            "An earlier champion; the Models page lists them with date and metric. Default: the last one that answered requests.",
        ),
        "reason": Param(
            type="string", minLength=3, title="Reason", description="Stored in the registry's history."
        ),
    }


class RollbackOperator(ModelOperator):
    """Make an earlier champion the champion again and send a message; serving processes follow within seconds.

    Running it again rolls back once. Returns a `PromotionResult`: the line of the history. Without `outlets` the task updates the asset `champion`.

    :param version: An earlier champion; empty: the last one that answered requests. (templated)
    :param reason: Why. (templated)
    :param by: Who requested it. (templated)
    :param run_key: Idempotency key of the rollback. (templated)
    """

    template_fields: Sequence[str] = (*ModelOperator.template_fields, "version", "reason", "by", "run_key")
    operator_extra_links = (ModelVersionLink(),)

    def __init__(
        self,
        *,
        version: str = "{{ params.version or '' }}",
        reason: str = "{{ params.reason }}",
        by: str = "{{ dag_run.triggering_user_name or 'airflow' }}",
        run_key: str = "{{ dag_run.run_id }}",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", [AssetAlias(ALIAS)])
        super().__init__(**kwargs)
        self.version = version
        self.reason = reason
        self.by = by
        self.run_key = run_key

    def run_step(self, context: Context) -> PromotionResult:
        """Roll back."""
        from evermodel.alerts.rollout_message import rollback_message
        from evermodel.registry.registry_entry import Promotion
        from evermodel_provider.notifications.delivery import tell

        settings, model = self.hook.settings, self.spec.name
        done = self.run("rollback", self._request())
        self.log.info("Version %s is the champion again (before: %s)", done["version"], done["previous"])
        self.announce(context, champion, version=done["version"])
        stopped = done.pop("stopped")
        links = {**self.links, "Airflow run": run_url(context, settings)}
        message = rollback_message(model, Promotion(**done), links, stopped)
        leave_note(context, f"{told_in(message)} Why: {done['reason']}", self.links)
        tell(self.spec, settings, "rollback", message, links["Model version"])
        return cast("PromotionResult", done)

    def _request(self) -> StepRequest:
        key = f"rollback/{self.spec.name}/{self.run_key}"
        inputs = {"version": str(self.version or ""), "by": str(self.by)}
        return StepRequest(self.model, str(self.as_of), key, str(self.reason), inputs)
