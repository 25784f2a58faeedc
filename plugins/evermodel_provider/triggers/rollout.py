"""Trigger that advances a rollout until it moves or ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import EvermodelError, TransientError
from evermodel.core.extras import named_extras
from evermodel_provider.connections import use_airflow_connections
from evermodel_provider.hooks.tracking import TrackingHook

if TYPE_CHECKING:
    from evermodel.deployment.rollout.service import RolloutEvaluation


MOST_MISSED = 12  # failures in a row; an hour at five minutes


def is_temporary(error: Exception) -> bool:
    """Return whether an error may be temporary: the registry, the network, or a lake file that is being written."""
    from mlflow.exceptions import MlflowException
    from pyarrow import ArrowException

    return isinstance(error, OSError | MlflowException | ArrowException)


def failure_text(model: str, error: Exception, failures: int) -> str:
    """Return the log line about a failed evaluation.

    :param failures: Failed evaluations in a row, with this one.
    """
    count = f"{failures} of {MOST_MISSED} in a row"
    problem = f"Rollout of {model}: evaluation failed ({count}): {type(error).__name__}: {error}. "
    if failures < MOST_MISSED:
        return problem + (
            f"The traffic plan is unchanged, with its limit; after {MOST_MISSED} failures this task fails. "
            "Check MLflow and the lake."
        )
    return problem + (
        f"This task fails now; the traffic plan stays in force unmonitored. Repair MLflow or the lake and clear this "
        f"task, or stop the rollout: DAG {dag_id('stop_rollout', model)}, or evermodel rollout stop {model} --reason WHY"
    )


class RolloutTrigger(BaseTrigger):
    """Evaluate a rollout repeatedly; one event for the first evaluation that moves it.

    :param model: Name of a model spec, or path of its YAML file.
    :param mlflow_conn_id: Airflow connection of the MLflow server.
    :param poke_interval: Seconds between two evaluations.
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
        """Yield one event: the evaluation that moved the rollout, or a permanent error."""
        failures = 0
        while True:
            await asyncio.sleep(self.poke_interval)
            try:
                # MLflow's client blocks; the triggerer runs many triggers in one thread.
                evaluation = await asyncio.to_thread(self.evaluate)
            except TransientError as error:
                self.log.warning("The rollout could not be evaluated: %s", error)
                continue
            except EvermodelError as error:
                yield TriggerEvent({"outcome": "failed", "problem": error.problem, "advice": error.advice})
                return
            except Exception as error:
                failures += 1
                if not is_temporary(error):
                    raise
                self.log.warning(failure_text(Path(self.model).stem, error, failures))
                if failures >= MOST_MISSED:
                    raise
                continue
            failures = 0
            if evaluation.over or evaluation.move != "stay":
                yield TriggerEvent({"outcome": "moved", "look": evaluation.to_json()})
                return
            self.log.info("stay: %s", evaluation.why)

    @named_extras()
    def evaluate(self) -> RolloutEvaluation:
        """Evaluate the rollout once."""
        from evermodel.deployment.rollout.service import RolloutService
        from evermodel.spec import load_spec

        use_airflow_connections()
        hook = TrackingHook(self.mlflow_conn_id)
        return RolloutService(load_spec(self.model), hook.get_conn(), hook.settings).advance()
