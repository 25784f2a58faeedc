"""Wait until the data of a window is there."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout

from evermodel.spec import load_spec
from evermodel.window import drift_window, last_day, training_window, whole_day
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.operators.base import AS_OF

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.arrival import Readiness
    from evermodel.spec import ModelSpec
    from evermodel.window import Window

_WINDOWS = {"training": training_window, "drift": drift_window}


class WindowSensor(BaseSensorOperator):
    """Base of the sensors that wait for one window of a model; frees its slot between two looks.

    :param model: Name of a model spec, or path of its YAML file. (templated)
    :param as_of: Moment as of which the run looks, ISO 8601. (templated)
    :param window: ``training``, ``drift`` or ``day`` (the whole day before).
    """

    template_fields: Sequence[str] = ("model", "as_of")

    def __init__(self, *, model: str, as_of: str = AS_OF, window: str = "day", **kwargs: Any) -> None:
        kwargs.setdefault("mode", "reschedule")
        kwargs.setdefault("poke_interval", 300)
        kwargs.setdefault("timeout", 6 * 3600)
        super().__init__(**kwargs)
        self.model = model
        self.as_of = as_of
        self.window = window
        self._found = "nothing was looked at yet"

    @cached_property
    def spec(self) -> ModelSpec:
        """The model's spec."""
        return load_spec(self.model)

    def execute(self, context: Context) -> Any:
        """Wait; a time-out says what was there."""
        with airflow_errors():
            try:
                return super().execute(context)
            except AirflowSensorTimeout as error:
                raise AirflowSensorTimeout(
                    f"model {self.spec.name}: gave up waiting for {self._interval()}. Found {self._found}.\n"
                    "  What to do: check the job that delivers this data; clear this task when it has arrived"
                ) from error

    def poke(self, context: Context) -> bool:
        """Tell whether the window is there."""
        readiness = self.look(self._interval())
        self._found = readiness.found
        self.log.info("%s: %s", "Ready" if readiness.ready else "Not there yet", readiness.found)
        return readiness.ready

    def look(self, window: Window) -> Readiness:
        """Look at the window; subclasses say where."""
        raise NotImplementedError

    def _interval(self) -> Window:
        as_of = whole_day(self.as_of)
        return last_day(as_of) if self.window == "day" else _WINDOWS[self.window](self.spec, as_of)


class NewDataSensor(WindowSensor):
    """Wait until the source holds the last day of a window."""

    def look(self, window: Window) -> Readiness:
        """Look at the source."""
        from evermodel.arrival import source_ready

        return source_ready(self.spec, window)


class PredictionsSensor(WindowSensor):
    """Wait until the prediction log holds the last day of a window."""

    def look(self, window: Window) -> Readiness:
        """Look at the prediction log."""
        from evermodel.arrival import predictions_ready
        from evermodel.settings import Settings

        return predictions_ready(self.spec, Settings.from_environment().lake, window)
