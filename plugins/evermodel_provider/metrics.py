"""What our steps measure, handed to Airflow's own metrics: StatsD or OpenTelemetry, whichever it is configured for."""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)


def measure(model: str, **values: float | int | None) -> None:
    """Set gauges named ``evermodel.<name>.<model>``; a metrics server that is away fails no step.

    The model is part of the name, because plain StatsD knows no labels; the mapping for Prometheus in
    ``include/deploy/prometheus/statsd.yaml`` makes a label of it.

    :param values: Name and value of each gauge; one without a value is left out.
    """
    from airflow.sdk.observability.stats import gauge

    for name, value in values.items():
        if value is None:
            continue
        try:
            gauge(f"evermodel.{name}.{model}", value)
        except Exception as error:  # noqa: BLE001 - whatever a metrics client raises, the step has done its work
            log.warning("The metric %s of %s was not sent: %s", name, model, error)
