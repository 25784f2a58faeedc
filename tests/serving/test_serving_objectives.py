"""The objectives of the serving app, read from the real app after real requests."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evermodel.monitoring.performance.objectives import figures_of, quantile_ms, serving_problem
from evermodel.monitoring.performance.scrape import Counters, ScrapeInterval, interval_of, read_counters
from evermodel.serving.app import create_app
from evermodel.spec import ModelSpec
from support.serving_models import World, request_rows, running, wait_until
from support.small_spec import small_spec

DAY = datetime(2026, 3, 1, tzinfo=UTC)


def _spec(**objectives: Any) -> ModelSpec:
    return small_spec(serving={"objectives": {"min_requests": 10, **objectives}})


def test_requests_between_two_looks_become_figures_and_a_restart_is_no_negative_number(world: World) -> None:
    world.publish(1)
    spec, lake = world.spec, world.settings.lake
    rows = {"rows": request_rows(3, 1)}

    def ask(client: Any, times: int) -> str:
        wait_until(lambda: client.get("/ready").status_code == 200, "the model is loaded")
        for _ in range(times):
            assert client.post("/predict", json=rows).status_code == 200
        return str(client.base_url)

    def look(url: str, day: int, seconds: int = 0) -> ScrapeInterval:
        as_of = DAY + timedelta(days=day)
        found = interval_of(spec, lake, [url], as_of, as_of + timedelta(hours=4, seconds=seconds))
        assert found is not None
        return found

    with running(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        url = ask(client, 5)
        assert figures_of(look(url, 0)).requests == 5
        ask(client, 20)
        assert client.post("/predict", json={"rows": []}).status_code == 422
        second = look(url, 1)
        assert look(url, 1, seconds=60) == second  # a day is looked at once
    figures = figures_of(second)
    assert (figures.requests, figures.error_rate, figures.fallback_share) == (21, 0.0, 0.0)
    assert figures.per_second == pytest.approx(21 / 86_400)
    assert figures.p50_ms is not None
    assert figures.p99_ms is not None
    assert 0 < figures.p50_ms <= figures.p99_ms <= 5000

    with running(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        kept = ScrapeInterval(Counters(**_page(ask(client, 30), world.name)), 0, (), ())
        again = read_counters(world.name, client.get("/metrics").text).since(kept.counted)
        assert sum(again.requests.values()) == 0
        restarted = read_counters(world.name, client.get("/metrics").text).since(second.counted)
    assert sum(restarted.requests.values()) == 30

    silent = look(url, 2)
    problem, _ = serving_problem(spec, silent)
    assert (problem.kind, problem.severity) == ("serving", "critical")
    assert problem.reason.startswith(f"{url} does not answer: ")


def _page(url: str, name: str) -> dict[str, Any]:
    from dataclasses import asdict

    import httpx

    return asdict(read_counters(name, httpx.get(f"{url}/metrics").text))


def _interval(
    requests: dict[str, float], buckets: dict[str, float] | None = None, **more: Any
) -> ScrapeInterval:
    counted = Counters(
        requests, buckets or {}, no_version=more.pop("no_version", 0.0), dropped=more.pop("dropped", 0.0)
    )
    return ScrapeInterval(counted, 3600.0, more.pop("addresses", ("http://a",)), more.pop("silent", ()))


@pytest.mark.parametrize(
    ("limit", "severity"),
    [({"p95_ms": 100.0}, "none"), ({"p95_ms": 60.0}, "warning"), ({"p95_ms": 40.0}, "critical")],
)
def test_a_missed_objective_is_a_warning_and_missed_twice_over_critical(
    limit: dict[str, float], severity: str
) -> None:
    interval = _interval({"200": 100}, {"0.05": 80.0, "0.1": 95.0, "0.25": 100.0, "+Inf": 100.0})
    problem, figures = serving_problem(_spec(**limit), interval)
    assert figures is not None
    assert figures.p95_ms == pytest.approx(100)
    assert problem.severity == severity


def test_errors_and_answers_that_no_model_gave_are_told_apart() -> None:
    interval = _interval({"200": 90, "500": 4, "503": 6}, no_version=6.0)
    problem, figures = serving_problem(_spec(error_rate=0.06, fallback_share=0.01), interval)
    assert figures is not None
    assert (figures.error_rate, figures.fallback_share) == (0.1, 0.06)
    assert problem.severity == "critical"
    assert problem.reason == "fallback share 6.00%, at most 1.00% allowed"
    assert problem.details[0] == "error rate 10.00%, at most 6.00% allowed"


def test_predictions_that_were_not_logged_are_a_warning_however_few_requests_there_were() -> None:
    problem, figures = serving_problem(_spec(), _interval({"200": 5}, dropped=1200.0))
    assert figures is not None
    assert (figures.dropped, problem.severity, problem.known) == (1200, "warning", True)
    assert problem.reason.startswith("1,200 predictions did not reach the prediction log")
    assert Counters({}, dropped=7.0).since(Counters({}, dropped=5.0)).dropped == 2
    assert Counters({}, dropped=7.0).plus(Counters({}, dropped=5.0)).dropped == 12


def test_few_requests_no_address_and_old_days_give_no_verdict(tmp_path: Any) -> None:
    spec = _spec(error_rate=0.01)
    assert not serving_problem(spec, _interval({"500": 5}))[0].known
    assert not serving_problem(spec, None)[0].known
    assert interval_of(spec, tmp_path, ["http://127.0.0.1:1"], DAY, DAY + timedelta(days=3)) is None
    nobody = interval_of(spec, tmp_path, [], DAY, DAY)
    assert not serving_problem(spec, nobody)[0].known


def test_one_of_two_addresses_that_does_not_answer_is_a_warning(tmp_path: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    found = interval_of(_spec(), tmp_path, [f"http://127.0.0.1:{port}"], DAY, DAY)
    assert found is not None
    both = ScrapeInterval(found.counted, 0, ("http://a", *found.addresses), found.silent)
    assert serving_problem(_spec(), found)[0].severity == "critical"
    assert serving_problem(_spec(), both)[0].severity == "warning"


def test_a_quantile_beyond_the_last_bound_is_the_last_bound() -> None:
    assert quantile_ms({"1.0": 10.0, "5.0": 10.0, "+Inf": 20.0}, 0.99) == 5000
    assert quantile_ms({}, 0.5) is None
