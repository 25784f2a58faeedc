"""Watch a rollout in the triggerer, until a look moves something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from evermodel.core.errors import EvermodelError, TransientError
from evermodel_provider.connections import use_airflow_connections
from evermodel_provider.hooks.tracking import TrackingHook

if TYPE_CHECKING:
    from evermodel.deployment.rollout.service import RolloutEvaluation


MOST_MISSED = 12  # looks in a row; an hour at five minutes


def may_pass(error: Exception) -> bool:
    """Tell whether an error may pass by itself: the registry, the network, or a file of the lake that is being written."""
    from mlflow.exceptions import MlflowException
    from pyarrow import ArrowException

    return isinstance(error, OSError | MlflowException | ArrowException)


def missed_look(model: str, error: Exception, missed: int) -> str:
    """Return what the log says to the person on call when nothing could be looked at.

    :param missed: Looks in a row that failed, with this one.
    """
    count = f"{missed} of {MOST_MISSED} looks in a row"
    told = f"Rollout of {model}: nothing could be looked at ({count}): {type(error).__name__}: {error}. "
    if missed < MOST_MISSED:
        return told + (
            f"The traffic plan stays as it is, with its limit; after {MOST_MISSED} of them this task fails. "
            "Are MLflow and the lake well?"
        )
    return told + (
        f"This task fails now, and the traffic plan stays in force unwatched. Mend MLflow or the lake and clear this "
        f"task, or end the rollout: DAG stop_rollout_{model}, or evermodel rollout stop {model} --reason WHY"
    )


class RolloutTrigger(BaseTrigger):
    """Look at a rollout again and again; one event for the first look that moves something.

    :param model: Name of a model spec, or path of its YAML file.
    :param mlflow_conn_id: Airflow connection of the MLflow server.
    :param poke_interval: Seconds between two looks.
    """

    def __init__(self, model: str, mlflow_conn_id: str, poke_interval: float) -> None:
        super().__init__()
        self.model = model
        self.mlflow_conn_id = mlflow_conn_id
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and its arguments."""
        names = ("model", "mlflow_conn_id", "poke_interval")
        return (
            "evermodel_provider.triggers.rollout.RolloutTrigger",
            {name: getattr(self, name) for name in names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: the look that moved something, or what makes looking impossible."""
        missed = 0
        while True:
            await asyncio.sleep(self.poke_interval)
            try:
                # MLflow's client blocks; the triggerer waits for many tasks in one thread.
                look = await asyncio.to_thread(self.look)
            except TransientError as error:
                self.log.warning("Nothing could be looked at: %s", error)
                continue
            except EvermodelError as error:
                yield TriggerEvent({"outcome": "failed", "problem": error.problem, "advice": error.advice})
                return
            except Exception as error:
                missed += 1
                if not may_pass(error):
                    raise
                self.log.warning(missed_look(self.model, error, missed))
                if missed >= MOST_MISSED:
                    raise
                continue
            missed = 0
            if look.over or look.move != "stay":
                yield TriggerEvent({"outcome": "moved", "look": look.to_json()})
                return
            self.log.info("stay: %s", look.why)

    def look(self) -> RolloutEvaluation:
        """Look at the rollout once."""
        from evermodel.deployment.rollout.service import RolloutService
        from evermodel.spec import load_spec

        use_airflow_connections()
        hook = TrackingHook(self.mlflow_conn_id)
        return RolloutService(load_spec(self.model), hook.get_conn(), hook.settings).advance()
