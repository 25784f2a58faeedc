"""Sensors that wait for the data of a window."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    conf,
)
from airflow.sdk import BaseSensorOperator

from evermodel.spec import load_spec
from evermodel.spec.window import (
    drift_window,
    last_day,
    look_moment,
    parse_moment,
    training_window,
    whole_day,
)
from evermodel_provider.connections import use_airflow_connections
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.operators.base import AS_OF
from evermodel_provider.step_runner import ready
from evermodel_provider.triggers.data import READY_STEPS, WindowTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.spec import ModelSpec
    from evermodel.spec.window import Window
    from evermodel_provider.step_runner import Kind

_WINDOWS = {"training": training_window, "drift": drift_window}
_RESOURCES: dict[str, Kind] = {"training": "training", "drift": "drift"}


class WindowSensor(BaseSensorOperator):
    """Base of the sensors that wait for one window of a model; frees its slot between two pokes.

    :param model: Name of a model spec, or path of its YAML file. (templated)
    :param as_of: Moment of the run, ISO 8601. (templated)
    :param window: ``training``, ``drift`` or ``day`` (the previous day).
    :param deferrable: Wait in the triggerer. Default: Airflow's ``operators.default_deferrable``.
    """

    template_fields: Sequence[str] = ("model", "as_of")
    kind = "source"

    def __init__(
        self,
        *,
        model: str,
        as_of: str = AS_OF,
        window: str = "day",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("mode", "reschedule")
        kwargs.setdefault("poke_interval", 300)
        kwargs.setdefault("timeout", 6 * 3600)
        super().__init__(**kwargs)
        self.model = model
        self.as_of = as_of
        self.window = window
        self.deferrable = deferrable
        self._found = "no data yet"
        self._missing = ""

    @cached_property
    def spec(self) -> ModelSpec:
        """The model's spec."""
        return load_spec(self.model)

    def execute(self, context: Context) -> Any:
        """Wait; a timeout reports the data found and the data missing."""
        with airflow_errors():
            use_airflow_connections()
            if self.deferrable:
                return self._wait_in_triggerer(context)
            try:
                return super().execute(context)
            except AirflowSensorTimeout as error:
                raise AirflowSensorTimeout(self._timed_out()) from error

    def poke(self, context: Context) -> bool:
        """Return whether the window is complete."""
        found = ready(READY_STEPS[self.kind], self._resources(), self.model, self._interval(), self.log)
        self._found, self._missing = found["found"], found["missing"]
        self.log.info("%s: %s", "Ready" if found["ready"] else "Not complete yet", self._found)
        return bool(found["ready"])

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Continue after the triggerer has waited."""
        if event["outcome"] == "failed":
            raise AirflowFailException(f"{event['problem']}\n  What to do: {event['advice']}")
        self._found, self._missing = event["found"], event["missing"]
        if event["outcome"] == "ready":
            self.log.info("Ready: %s", self._found)
        elif self.soft_fail:
            raise AirflowSkipException(self._timed_out())
        else:
            raise AirflowSensorTimeout(self._timed_out())

    def _wait_in_triggerer(self, context: Context) -> None:
        if self.poke(context):
            return
        window, timeout = self._interval(), timedelta(seconds=float(self.timeout))
        trigger = WindowTrigger(
            kind=self.kind,
            model=self.model,
            start=window.start.isoformat(),
            end=window.end.isoformat(),
            poke_interval=float(self.poke_interval),
            deadline=(datetime.now(UTC) + timeout).isoformat(),
            resources=self._resources(),
        )
        # The trigger times out first, because its event reports what it found.
        spare = timedelta(seconds=2 * float(self.poke_interval) + 600)
        self.defer(trigger=trigger, method_name="execute_complete", timeout=timeout + spare)

    def _timed_out(self) -> str:
        missing = f" Missing: {self._missing}." if self._missing else ""
        return (
            f"model {self.spec.name}: timed out waiting for {self._interval()}. Found {self._found}.{missing}\n"
            "  What to do: check the job that delivers this data, and clear this task when the data is complete"
        )

    def _resources(self) -> Kind:
        return _RESOURCES.get(self.window, "scoring")

    def _interval(self) -> Window:
        as_of = look_moment(self.spec, self.as_of) if self.window == "drift" else whole_day(self.as_of)
        return last_day(as_of) if self.window == "day" else _WINDOWS[self.window](self.spec, as_of)


class NewDataSensor(WindowSensor):
    """Wait until the source's data of a window is complete, as defined by the spec's ``source.complete``."""


class DaysToScoreSensor(NewDataSensor):
    """Wait until the last day to score is complete.

    Returns the moment as of which each day is scored: one day, or all days of a range.

    :param first: First day of a range; empty: only the day before ``as_of``. (templated)
    :param last: Last day of a range; empty: the day before ``as_of``. (templated)
    """

    template_fields: Sequence[str] = (*NewDataSensor.template_fields, "first", "last")

    def __init__(
        self,
        *,
        first: str = "{{ params.get('from') or '' }}",
        last: str = "{{ params.get('to') or '' }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.first = first
        self.last = last

    def execute(self, context: Context) -> list[str]:
        """Wait, and return the days."""
        super().execute(context)
        return self._moments()

    def execute_complete(self, context: Context, event: dict[str, Any]) -> list[str]:
        """Return the days after the triggerer has waited."""
        super().execute_complete(context, event)
        return self._moments()

    def _interval(self) -> Window:
        return last_day(parse_moment(self._moments()[-1]))

    def _moments(self) -> list[str]:
        from evermodel.spec.window import days_to_score

        longest = conf.getint("core", "max_map_length")
        with airflow_errors():
            return [d.isoformat() for d in days_to_score(self.first, self.last, self.as_of, longest)]


class PredictionsSensor(WindowSensor):
    """Wait until the prediction log holds rows of the last day of a window."""

    kind = "predictions"
