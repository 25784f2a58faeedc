"""Trigger that waits for the data of a window."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from evermodel.core.errors import EvermodelError
from evermodel.core.extras import named_extras
from evermodel_provider.connections import use_airflow_connections

if TYPE_CHECKING:
    from evermodel.data.sources.readiness import Readiness


class WindowTrigger(BaseTrigger):
    """Check repeatedly until a window is complete, the deadline has passed, or an error makes waiting useless.

    :param kind: ``source`` or ``predictions``: what to check.
    :param model: Name of a model spec, or path of its YAML file.
    :param start: Start of the window, ISO 8601.
    :param end: End of the window, ISO 8601.
    :param poke_interval: Seconds between two checks.
    :param deadline: When to stop, ISO 8601.
    """

    def __init__(
        self, kind: str, model: str, start: str, end: str, poke_interval: float, deadline: str
    ) -> None:
        super().__init__()
        self.kind = kind
        self.model = model
        self.start = start
        self.end = end
        self.poke_interval = poke_interval
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and its arguments."""
        names = ("kind", "model", "start", "end", "poke_interval", "deadline")
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
            told = {"found": found.found, "missing": found.missing}
            if found.ready:
                yield TriggerEvent({"outcome": "ready", **told})
                return
            if datetime.now(UTC) >= deadline:
                yield TriggerEvent({"outcome": "timeout", **told})
                return
            self.log.info("Not complete yet: %s", found.found)
            await asyncio.sleep(self.poke_interval)

    @named_extras()
    def check(self) -> Readiness:
        """Check the window once."""
        from evermodel.core.settings import Settings
        from evermodel.data.sources.readiness import predictions_ready, source_ready
        from evermodel.spec import load_spec
        from evermodel.spec.window import Window, parse_moment

        use_airflow_connections()
        spec = load_spec(self.model)
        window = Window(parse_moment(self.start), parse_moment(self.end))
        if self.kind == "predictions":
            return predictions_ready(spec, Settings.from_environment().lake, window)
        return source_ready(spec, window)
