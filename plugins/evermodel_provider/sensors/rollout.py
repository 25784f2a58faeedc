"""Watch a rollout: every look moves it by what is known then, until it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from evermodel.core.errors import TransientError
from evermodel.spec import load_spec
from evermodel_provider.connections import use_airflow_connections
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.triggers.rollout import MOST_MISSED, RolloutTrigger, may_pass, missed_look

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.spec import ModelSpec

_MISSED = "missed_looks"
_LONGEST = 90 * 86_400  # each strategy has an end of its own, long before


class RolloutSensor(BaseSensorOperator):
    """Look at a rollout again and again, and do what the evidence says; frees its slot between two looks.

    A server that is away for a while ends nothing: the plan in force stays, with its limit, until the next look. Errors of
    other kinds that may pass by themselves fail the task when they come `MOST_MISSED` times in a row.
    Returns the last look.

    :param model: Name of a model spec, or path of its YAML file. (templated)
    :param thread: Name of the message with which the rollout began. (templated)
    :param mlflow_conn_id: Airflow connection of the MLflow server. (templated)
    :param deferrable: Wait in the triggerer; Airflow's ``operators.default_deferrable`` if not given.
    """

    template_fields: Sequence[str] = ("model", "thread", "mlflow_conn_id")

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
        """Look until the rollout is over."""
        with airflow_errors():
            use_airflow_connections()
            if not self.deferrable:
                return super().execute(context)
            found = self.poke(context)
            return found.xcom_value if found else self._wait_in_triggerer()

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once."""
        from evermodel.deployment.rollout.service import RolloutService

        hook = TrackingHook(self.mlflow_conn_id)
        try:
            look = RolloutService(self.spec, hook.get_conn(), hook.settings).advance()
        except TransientError as error:
            self.log.warning("Nothing could be looked at: %s", error)
            return PokeReturnValue(is_done=False)
        except Exception as error:
            if not may_pass(error):
                raise
            if self._miss(context, error) >= MOST_MISSED:
                raise
            return PokeReturnValue(is_done=False)
        self._missed(context, 0)
        return self._seen(context, look.to_json())

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Tell what the triggerer has seen, and go on waiting until it is over."""
        if event["outcome"] == "failed":
            raise AirflowFailException(f"{event['problem']}\n  What to do: {event['advice']}")
        with airflow_errors():
            use_airflow_connections()
            found = self._seen(context, event["look"])
        return found.xcom_value if found else self._wait_in_triggerer()

    def _miss(self, context: Context, error: Exception) -> int:
        """Count a look that failed, and tell of it; return how many did in a row."""
        missed = self._missed(context) + 1
        self.log.warning(missed_look(self.spec.name, error, missed))
        self._missed(context, missed % MOST_MISSED)  # a retry begins anew
        return missed

    def _missed(self, context: Context, now: int | None = None) -> int:
        """Return how many looks in a row failed, and note another number; each look may be a process of its own."""
        store = context["task_state_store"]
        before = int(str(store.get(_MISSED, 0)))
        if now is not None and now != before:
            store.set(_MISSED, now)
        return before

    def _seen(self, context: Context, look: dict[str, Any]) -> PokeReturnValue:
        self.log.info("%s: %s", look["move"], look["why"])
        over = look["state"] != "running"
        if look["move"] != "stay" and not over:  # the end is told by the DAG's last task
            self._tell(context, look)
        return PokeReturnValue(is_done=over, xcom_value=look)

    def _tell(self, context: Context, look: dict[str, Any]) -> None:
        """Tell people of a step; it was taken all the same if that fails."""
        from evermodel.alerts.rollout_message import progress_message
        from evermodel_provider.notifications.delivery import tell

        settings, run = TrackingHook(self.mlflow_conn_id).settings, context["dag_run"]
        url = f"{settings.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}"
        try:
            message = progress_message(look, {"Airflow run": url})
            tell(self.spec, settings, "rollout", message, url, thread=str(self.thread or ""))
        except Exception:
            self.log.exception("The message about the step could not be sent")

    def _wait_in_triggerer(self) -> None:
        trigger = RolloutTrigger(
            model=self.model, mlflow_conn_id=self.mlflow_conn_id, poke_interval=float(self.poke_interval)
        )
        self.defer(trigger=trigger, method_name="execute_complete")
