"""Metrics of the steps, sent to Airflow's own metrics: StatsD or OpenTelemetry, as configured."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


def measure(model: str, *, part: str = "", **values: float | int | None) -> None:
    """Set gauges named ``evermodel.<name>.<model>``; an unavailable metrics server fails no step.

    The model is part of the name, because plain StatsD has no labels; the mapping for Prometheus in
    ``include/deploy/prometheus/statsd.yaml`` makes a label of it.

    :param part: The measured part of the model, such as a candidate; the suffix of the name.
    :param values: Name and value of each gauge; one without a value is left out.
    """
    from evermodel_provider.compat import gauge

    subject = f"{model}.{part}" if part else model
    for name, value in values.items():
        if value is not None:
            _send(gauge, f"evermodel.{name}.{subject}", value)


def count(model: str, name: str) -> None:
    """Add one to the counter ``evermodel.<name>.<model>``."""
    from evermodel_provider.compat import incr

    _send(incr, f"evermodel.{name}.{model}", 1)


def _send(send: Callable[[str, float], None], name: str, value: float) -> None:
    try:
        send(name, value)
    except Exception as error:  # noqa: BLE001 - whatever a metrics client raises, the step has done its work
        log.warning("The metric %s was not sent: %s", name, error)
