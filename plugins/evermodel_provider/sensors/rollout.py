"""Sensor that advances a rollout step by step until it ends."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException, conf
from airflow.sdk import BaseSensorOperator, PokeReturnValue

from evermodel.core.errors import TransientError
from evermodel.spec import load_spec, spec_folder
from evermodel_provider.connections import use_airflow_connections
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.operators.base import run_url
from evermodel_provider.triggers.rollout import MOST_MISSED, RolloutTrigger, failure_text, is_temporary

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.spec import ModelSpec

_MISSED = "failure_texts"
_LONGEST = 90 * 86_400  # each strategy ends long before


class RolloutSensor(BaseSensorOperator):
    """Evaluate a rollout repeatedly and move its traffic by the result; frees its slot between two evaluations.

    While a server is unavailable, the current traffic plan stays in force, with its limit. Other errors that may be
    temporary fail the task after `MOST_MISSED` evaluations in a row. Returns the last evaluation.

    :param model: Name of a model spec, or path of its YAML file. (templated)
    :param thread: Identity of the rollout's first message. (templated)
    :param mlflow_conn_id: Airflow connection of the MLflow server. (templated)
    :param deferrable: Wait in the triggerer. Default: Airflow's ``operators.default_deferrable``.
    """

    template_fields: Sequence[str] = ("model", "thread", "mlflow_conn_id")

    _missed: int = 0

    def __init__(
        self,
        *,
        model: str,
        thread: str = "",
        mlflow_conn_id: str = TrackingHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("mode", "reschedule")
        kwargs.setdefault("poke_interval", 300)
        kwargs.setdefault("timeout", _LONGEST)
        super().__init__(**kwargs)
        self.model = model
        self.thread = thread
        self.mlflow_conn_id = mlflow_conn_id
        self.deferrable = deferrable

    @cached_property
    def spec(self) -> ModelSpec:
        """The model's spec."""
        return load_spec(self.model)

    def execute(self, context: Context) -> Any:
        """Evaluate until the rollout has ended."""
        with airflow_errors():
            use_airflow_connections()
            if not self.deferrable:
                return super().execute(context)
            found = self.poke(context)
            return found.xcom_value if found else self._wait_in_triggerer()

    def poke(self, context: Context) -> PokeReturnValue:
        """Evaluate once."""
        from evermodel.deployment.rollout.service import RolloutService

        hook = TrackingHook(self.mlflow_conn_id)
        try:
            evaluation = RolloutService(self.spec, hook.get_conn(), hook.settings).advance()
        except TransientError as error:
            self.log.warning("The rollout could not be evaluated: %s", error)
            return PokeReturnValue(is_done=False)
        except Exception as error:
            if not is_temporary(error):
                raise
            if self._count_failure(context, error) >= MOST_MISSED:
                raise
            return PokeReturnValue(is_done=False)
        self._failures(context, 0)
        return self._report(context, evaluation.to_json())

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Report the triggerer's evaluation, and wait again unless the rollout has ended."""
        if event["outcome"] == "failed":
            raise AirflowFailException(f"{event['problem']}\n  What to do: {event['advice']}")
        with airflow_errors():
            use_airflow_connections()
            found = self._report(context, event["look"])
        return found.xcom_value if found else self._wait_in_triggerer()

    def _count_failure(self, context: Context, error: Exception) -> int:
        """Count and log a failed evaluation; return the number of failures in a row."""
        failures = self._failures(context) + 1
        self.log.warning(failure_text(self.spec.name, error, failures))
        self._failures(context, failures % MOST_MISSED)  # a retry starts at zero
        return failures

    def _failures(self, context: Context, now: int | None = None) -> int:
        """Return the number of failed evaluations in a row, and store a new one; each may run in its own process."""
        store = context.get("task_state_store")
        if (
            store is None
        ):  # until Airflow 3.2: rescheduled evaluations are not counted, and the sensor's timeout ends them
            before, self._missed = self._missed, self._missed if now is None else now
            return before
        before = int(str(store.get(_MISSED, 0)))
        if now is not None and now != before:
            store.set(_MISSED, now)
        return before

    def _report(self, context: Context, evaluation: dict[str, Any]) -> PokeReturnValue:
        self.log.info("%s: %s", evaluation["move"], evaluation["why"])
        over = evaluation["state"] != "running"
        if evaluation["move"] != "stay" and not over:  # the DAG's last task reports the end
            self._notify(context, evaluation)
        return PokeReturnValue(is_done=over, xcom_value=evaluation)

    def _notify(self, context: Context, evaluation: dict[str, Any]) -> None:
        """Send a message about a step; a failure does not undo the step."""
        from evermodel.alerts.rollout_message import progress_message
        from evermodel_provider.notifications.delivery import tell

        settings = TrackingHook(self.mlflow_conn_id, spec_folder(self.model)).settings
        url = run_url(context, settings)
        try:
            message = progress_message(evaluation, {"Airflow run": url})
            tell(self.spec, settings, "rollout", message, url, thread=str(self.thread or ""))
        except Exception:
            self.log.exception("The message about the step could not be sent")

    def _wait_in_triggerer(self) -> None:
        trigger = RolloutTrigger(
            model=self.model, mlflow_conn_id=self.mlflow_conn_id, poke_interval=float(self.poke_interval)
        )
        self.defer(trigger=trigger, method_name="execute_complete")
