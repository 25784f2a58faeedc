from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from evermodel_provider.metrics import measure


@pytest.fixture
def datagrams(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A StatsD server on loopback that Airflow sends to."""
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics import statsd_logger

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "127.0.0.1")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(server.getsockname()[1]))
        stats.initialize(factory=statsd_logger.get_statsd_logger, export_legacy_names=True)
        yield server
    monkeypatch.undo()
    from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger

    stats.initialize(factory=NoStatsLogger, export_legacy_names=True)


def test_a_gauge_carries_the_model_in_its_name(datagrams: socket.socket) -> None:
    measure("flights", severity=2, metric=0.5, metric_promised=None)
    sent = {datagrams.recv(1024).decode() for _ in range(2)}
    assert sent == {"airflow.evermodel.severity.flights:2|g", "airflow.evermodel.metric.flights:0.5|g"}
