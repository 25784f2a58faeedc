"""Start, report and stop of a rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import AssetAlias, Param

from evermodel.core.errors import RolloutError
from evermodel.spec.rollout import STRATEGIES
from evermodel_provider.assets import champion, rollout_wanted
from evermodel_provider.operators.base import ALIAS, ModelOperator, optional, version_links
from evermodel_provider.operators.request import by_tasks
from evermodel_provider.run_notes import leave_note, told_in

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.deployment.rollout.service import RolloutService
    from evermodel.spec import ModelSpec
    from evermodel_provider.results import RolloutStartResult, TrafficResult


def rollout_form(spec: ModelSpec) -> dict[str, Param]:
    """Return the form that starts a rollout."""
    return {
        "version": optional(
            "Version",
            "A registered version that passed the gates. The Models page lists them with their metrics.",
        ),
        "strategy": Param(
            "as in the spec",
            type="string",
            enum=["as in the spec", *STRATEGIES],
            title="Strategy",
            description=f"The spec sets {spec.rollout.strategy}.",
        ),
        "reason": optional("Reason", "Stored in the history."),
    }


def stop_form() -> dict[str, Param]:
    """Return the form that stops a rollout."""
    return {
        "reason": Param(type="string", minLength=3, title="Reason", description="Stored with the rollout."),
    }


class RolloutOperator(ModelOperator):
    """Base of the operators that work on a model's rollouts."""

    def rollouts(self) -> RolloutService:
        """Return the service for the model's rollouts."""
        from evermodel.deployment.rollout.service import RolloutService

        return RolloutService(self.spec, self.hook.get_conn(), self.hook.settings)


class StartRolloutOperator(RolloutOperator):
    """Start the rollout that the retrain DAG or a person requested, once per key, and send a message.

    Skips when a retrain made the first champion, which needs no rollout. Returns a `RolloutStartResult`.

    :param version: The version, if a person requests it. (templated)
    :param strategy: One of the spec's strategies; any other value: the spec's own. (templated)
    :param reason: Why. (templated)
    :param by: Who requested it. (templated)
    :param run_key: Idempotency key of a person's request; a request of the retrain DAG carries its own. (templated)
    """

    template_fields: Sequence[str] = (
        *ModelOperator.template_fields,
        "version",
        "strategy",
        "reason",
        "by",
        "run_key",
    )

    def __init__(
        self,
        *,
        version: str = "{{ params.version or '' }}",
        strategy: str = "{{ params.strategy }}",
        reason: str = "{{ params.reason or '' }}",
        by: str = "{{ dag_run.triggering_user_name or 'airflow' }}",
        run_key: str = "{{ dag_run.run_id }}",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.version = version
        self.strategy = strategy
        self.reason = reason
        self.by = by
        self.run_key = run_key

    def run_step(self, context: Context) -> RolloutStartResult:
        """Start the rollout."""
        from evermodel.alerts.rollout_message import first_step, started_message
        from evermodel_provider.notifications.delivery import tell

        plan = self.rollouts().start(**self._request(context))
        self.log.info("Version %s: %s, %s", plan.challenger, plan.strategy, first_step(plan))
        links = version_links(context, self.hook.settings, self.spec.name, plan.challenger)
        message = started_message(plan, links)
        tell(self.spec, self.hook.settings, "rollout", message, links["Model version"])
        return {
            "run_key": plan.run_key,
            "version": plan.challenger,
            "strategy": plan.strategy,
            "thread": message.identity,
        }

    def _request(self, context: Context) -> dict[str, Any]:
        """Return the request: from the form, else from the newest event of the retrain DAG."""
        version = str(self.version or "").strip()
        if version:
            chosen = self.strategy if self.strategy in STRATEGIES else None
            return {
                "version": version,
                "by": str(self.by),
                "reason": str(self.reason),
                "run_key": f"rollout/{self.spec.name}/{self.run_key}",
                "strategy": chosen,
            }
        events = context["triggering_asset_events"].get(rollout_wanted(self.spec.name), [])
        asked = [event for event in by_tasks(events) if "version" in event.extra]
        if not asked and any("cold_start" in event.extra for event in events):
            raise AirflowSkipException("the retrain made the first champion, which needs no rollout")
        if not asked:
            raise RolloutError(
                f"model {self.spec.name}: no version is set", "start the run again with a version in the form"
            )
        # Airflow does not order the events.
        wanted: Mapping[str, Any] = max(asked, key=lambda event: event.timestamp).extra
        return {key: str(wanted[key]) for key in ("version", "by", "reason", "run_key")}


class FinishRolloutOperator(RolloutOperator):
    """Emit the champion's asset event if the rollout was promoted; skip otherwise.

    Returns the version. Without `outlets` the task updates the asset `champion`.

    :param evaluation: What `RolloutSensor` returned. (templated)
    """

    template_fields: Sequence[str] = (*ModelOperator.template_fields, "evaluation")
    objects = ("evaluation",)

    def __init__(self, *, evaluation: Any, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", [AssetAlias(ALIAS)])
        super().__init__(**kwargs)
        self.evaluation = evaluation

    def run_step(self, context: Context) -> str:
        """Continue only after a promotion."""
        if self.evaluation["state"] != "promoted":
            raise AirflowSkipException(f"the rollout was {self.evaluation['state'].replace('_', ' ')}")
        self.announce(context, champion, version=str(self.evaluation["version"]))
        return str(self.evaluation["version"])


class RolloutReportOperator(RolloutOperator):
    """Send the result of a rollout, in the thread in which it began.

    Returns a `TrafficResult`.

    :param evaluation: What `RolloutSensor` returned. (templated)
    :param thread: Identity of the rollout's first message. (templated)
    """

    template_fields: Sequence[str] = (*ModelOperator.template_fields, "evaluation", "thread")
    objects = ("evaluation",)

    def __init__(self, *, evaluation: Any, thread: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.evaluation = evaluation
        self.thread = thread

    def run_step(self, context: Context) -> TrafficResult:
        """Report."""
        from evermodel.alerts.rollout_message import progress_message
        from evermodel_provider.notifications.delivery import tell

        links = version_links(context, self.hook.settings, self.spec.name, self.evaluation["version"])
        message, url = progress_message(self.evaluation, links), links["Model version"]
        leave_note(context, told_in(message), {"Model version": url})
        delivery = tell(self.spec, self.hook.settings, "rollout", message, url, thread=str(self.thread or ""))
        return {"state": self.evaluation["state"], "delivery": delivery}


class StopRolloutOperator(RolloutOperator):
    """Stop the active rollout: the champion answers all requests. The rollout's DAG run sends the message.

    Returns the version whose rollout was stopped.

    :param reason: Why. (templated)
    :param by: Who requested it. (templated)
    """

    template_fields: Sequence[str] = (*ModelOperator.template_fields, "reason", "by")

    def __init__(
        self,
        *,
        reason: str = "{{ params.reason }}",
        by: str = "{{ dag_run.triggering_user_name or 'airflow' }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.reason = reason
        self.by = by

    def run_step(self, context: Context) -> str:
        """Stop it."""
        plan = self.rollouts().stop(by=str(self.by), reason=str(self.reason))
        self.log.info("The rollout of version %s has ended: %s", plan.challenger, plan.verdict)
        return plan.challenger
