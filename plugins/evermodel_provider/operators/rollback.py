"""Rollback to an earlier champion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAlias, Param

from evermodel_provider.assets import champion
from evermodel_provider.operators.base import ALIAS, ModelOperator, optional, version_links

if TYPE_CHECKING:
    from airflow.sdk import Context


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

    Running it again rolls back once. Returns the line of the history. Without `outlets` the task updates the asset `champion`.

    :param version: An earlier champion; empty: the last one that answered requests. (templated)
    :param reason: Why. (templated)
    :param by: Who requested it. (templated)
    :param run_key: Idempotency key of the rollback. (templated)
    """

    template_fields: Sequence[str] = (*ModelOperator.template_fields, "version", "reason", "by", "run_key")

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

    def run_step(self, context: Context) -> dict[str, Any]:
        """Roll back."""
        from dataclasses import asdict

        from evermodel.alerts.rollout_message import rollback_message
        from evermodel.deployment.rollback import roll_back
        from evermodel.deployment.rollout.moves import active_rollout
        from evermodel.registry.registry import ModelRegistry
        from evermodel.registry.serving_reports import ServingReports
        from evermodel_provider.notifications.delivery import tell

        client, settings, model = self.hook.get_conn(), self.hook.settings, self.spec.name
        active = active_rollout(ModelRegistry(client).read(model))
        done = roll_back(
            client,
            model,
            by=self.by,
            reason=self.reason,
            run_key=f"rollback/{model}/{self.run_key}",
            version=str(self.version).strip() or None,
            reports=ServingReports.of(settings),
        )
        self.log.info("Version %s is the champion again (before: %s)", done.version, done.previous)
        self.announce(context, champion, version=done.version)
        links = version_links(context, settings, model, done.version)
        message = rollback_message(model, done, links, active.challenger if active else "")
        tell(self.spec, settings, "rollback", message, links["Model version"])
        return asdict(done)
