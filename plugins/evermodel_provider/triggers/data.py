"""Trigger that waits for the data of a window."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from evermodel.core.errors import EvermodelError
from evermodel.core.extras import named_extras
from evermodel.spec.window import Window, parse_moment
from evermodel_provider.connections import use_airflow_connections
from evermodel_provider.step_runner import ready

if TYPE_CHECKING:
    from evermodel_provider.step_runner import Kind

READY_STEPS = {"source": "source_ready", "predictions": "predictions_ready"}


class WindowTrigger(BaseTrigger):
    """Check repeatedly until a window is complete, the deadline has passed, or an error makes waiting useless.

    :param kind: ``source`` or ``predictions``: what to check.
    :param model: Name of a model spec, or path of its YAML file.
    :param start: Start of the window, ISO 8601.
    :param end: End of the window, ISO 8601.
    :param poke_interval: Seconds between two checks.
    :param deadline: When to stop, ISO 8601.
    :param resources: Kind of task whose `resources` of the spec hold.
    """

    def __init__(
        self,
        kind: str,
        model: str,
        start: str,
        end: str,
        poke_interval: float,
        deadline: str,
        resources: Kind = "scoring",
    ) -> None:
        super().__init__()
        self.kind = kind
        self.model = model
        self.start = start
        self.end = end
        self.poke_interval = poke_interval
        self.deadline = deadline
        self.resources = resources

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and its arguments."""
        names = ("kind", "model", "start", "end", "poke_interval", "deadline", "resources")
        return (
            "evermodel_provider.triggers.data.WindowTrigger",
            {name: getattr(self, name) for name in names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: the outcome, and the data found last."""
        deadline = datetime.fromisoformat(self.deadline)
        while True:
            try:
                # Reading a source blocks; the triggerer runs many triggers in one thread.
                found = await asyncio.to_thread(self.check)
            except EvermodelError as error:
                yield TriggerEvent({"outcome": "failed", "problem": error.problem, "advice": error.advice})
                return
            told = {"found": found["found"], "missing": found["missing"]}
            if found["ready"]:
                yield TriggerEvent({"outcome": "ready", **told})
                return
            if datetime.now(UTC) >= deadline:
                yield TriggerEvent({"outcome": "timeout", **told})
                return
            self.log.info("Not complete yet: %s", found["found"])
            await asyncio.sleep(self.poke_interval)

    @named_extras()
    def check(self) -> dict[str, Any]:
        """Check the window once."""
        use_airflow_connections()
        window = Window(parse_moment(self.start), parse_moment(self.end))
        return ready(READY_STEPS[self.kind], self.resources, self.model, window, self.log)
