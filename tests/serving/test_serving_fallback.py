from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from typing import Any

import pytest

from evermodel.core.errors import SpecError
from evermodel.monitoring.performance.scrape import read_counters
from evermodel.serving.breaker import FAILURES, PAUSE_SECONDS, Breaker, LogThrottle
from support.serving_edge import BODY, Edges, hang, throw
from support.serving_models import wait_until
from support.small_spec import small_spec

PREVIOUS = {"kind": "previous"}
CONSTANT = {"kind": "constant", "score": 0.2}


def nonsense(made: Any) -> None:
    made.now.score = 1.5


def throwing(made: Any) -> None:
    made.now.does = throw


def hanging(made: Any) -> None:
    made.now.does = hang


@pytest.mark.parametrize(
    ("trouble", "reason", "extra"),
    [(throwing, "error", {}), (nonsense, "nonsense", {}), (hanging, "timeout", {"timeout_ms": 800})],
)
def test_the_previous_version_answers_and_the_answer_says_so(
    edge: Edges, trouble: Any, reason: str, extra: dict[str, Any]
) -> None:
    with edge(fallback={**PREVIOUS, **extra}) as (made, client):
        assert client.post("/predict", json=BODY, headers={"X-Request-ID": "first"}).json() == {
            "model": "small",
            "version": "7",
            "request_id": "first",
            "predictions": [{"id": "first-0", "score": 0.25}, {"id": "first-1", "score": 0.25}],
        }
        trouble(made)
        begin = time.monotonic()
        body = client.post("/predict", json=BODY).json()
        assert time.monotonic() - begin < 15
        assert (body["version"], body["fallback"]) == ("6", "previous")
        assert [prediction["score"] for prediction in body["predictions"]] == [0.5, 0.5]
        labels = {"kind": "previous", "reason": reason}
        assert made.count("evermodel_fallback_answers_total", **labels) == 1
        assert made.count("evermodel_requests_total", version="6", status="200") == 1
        counted = read_counters("small", made.metrics.text().decode())
        assert (counted.fallbacks, counted.no_version) == (1, 0)
    assert [(row["model_version"], row["score"]) for row in made.logged()] == [("7", 0.25)] * 2 + [
        ("6", 0.5)
    ] * 2


@pytest.mark.parametrize("loaded", [True, False])
@pytest.mark.parametrize(
    ("fallback", "scores"),
    [(CONSTANT, [0.2, 0.2]), ({"kind": "rule", "rule": "fallback_rules:by_amount"}, [0.1, 0.9])],
    ids=["constant", "rule"],
)
def test_a_constant_or_a_rule_answers_also_while_nothing_is_loaded(
    edge: Edges, fallback: dict[str, Any], scores: list[float], loaded: bool
) -> None:
    with edge(loaded=loaded, fallback=fallback) as (made, client):
        made.now.does = throw
        answer = client.post("/predict", json=BODY)
        assert answer.status_code == 200
        body, kind = answer.json(), fallback["kind"]
        assert (body["version"], body["fallback"]) == (kind, kind)
        assert [prediction["score"] for prediction in body["predictions"]] == scores
        labels = {"kind": kind, "reason": "error" if loaded else "not_loaded"}
        assert made.count("evermodel_fallback_answers_total", **labels) == 1
        assert client.post("/predict", json={"rows": [{"amount": 1}]}).status_code == 422
    assert {row["model_version"] for row in made.logged()} == {kind}


def test_without_a_fallback_the_caller_gets_a_5xx(edge: Edges) -> None:
    with edge(loaded=False) as (_, client):
        assert client.post("/predict", json=BODY).status_code == 503
    with edge(fallback={"timeout_ms": 100}) as (made, client):
        made.now.does = hang
        slow = client.post("/predict", json=BODY)
        assert (slow.status_code, slow.headers["Retry-After"]) == (503, "2")
        assert "exceeded its time limit of 100 ms" in slow.json()["detail"]
    assert made.logged() == []


@pytest.mark.parametrize("rule", ["throws", "too_much"])
def test_a_rule_that_fails_is_a_500_and_the_log_has_why_without_values(
    edge: Edges, rule: str, caplog: pytest.LogCaptureFixture
) -> None:
    with edge(fallback={"kind": "rule", "rule": f"fallback_rules:{rule}"}) as (made, client):
        made.now.does = throw
        for _ in range(3):
            assert client.post("/predict", json=BODY).status_code == 500
    failed = [r.getMessage() for r in caplog.records if "event=predict_failed" in r.getMessage()]
    told = [r.getMessage() for r in caplog.records if "event=fallback_answers" in r.getMessage()]
    assert (len(failed), len(told)) == (1, 1)
    assert "reason=error" in told[0]
    assert "ValueError at" in told[0]
    assert ("KeyError" if rule == "throws" else "not a probability") in failed[0]
    assert "crimson" not in caplog.text


def test_a_version_that_fails_again_and_again_is_left_alone(
    edge: Edges, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "evermodel.serving")
    with edge(fallback=CONSTANT) as (made, client):
        made.now.does = throw
        for _ in range(FAILURES + 10):
            assert client.post("/predict", json=BODY).status_code == 200
        assert made.now.asked == FAILURES
        assert made.fallbacks.breaker_open(made.champion)
        assert made.count("evermodel_breaker_open", version="7") == 1
        assert made.count("evermodel_fallback_answers_total", kind="constant", reason="breaker") == 10
        made.fallbacks._breakers[made.champion]._again_at = 0.0
        made.now.does = lambda: None
        assert client.post("/predict", json=BODY).json()["version"] == "7"
        assert made.count("evermodel_breaker_open", version="7") == 0
    said = [message.split()[0] for message in caplog.messages if "breaker" in message.split()[0]]
    assert said == ["event=breaker_opened", "event=breaker_closed"]


def test_a_breaker_lets_one_request_try_and_opens_again_when_it_fails() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(FAILURES):
        assert breaker.lets_through()
        breaker.failed()
    assert not breaker.lets_through()
    now[0] = PAUSE_SECONDS
    assert [breaker.lets_through() for _ in range(3)] == [True, False, False]
    breaker.failed()
    now[0] = 1.9 * PAUSE_SECONDS
    assert not breaker.lets_through()
    now[0] = 2 * PAUSE_SECONDS
    assert breaker.lets_through()
    assert breaker.answered()
    assert [breaker.lets_through() for _ in range(3)] == [True] * 3


def test_trouble_is_told_at_once_and_then_once_a_minute() -> None:
    now = [0.0]
    seldom = LogThrottle(lambda: now[0])
    assert [seldom.times("a") for _ in range(5)] == [1, 0, 0, 0, 0]
    assert seldom.times("b") == 1
    now[0] = 61.0
    assert seldom.times("a") == 5


@pytest.mark.slow
def test_a_version_that_hangs_holds_up_nobody_else(edge: Edges) -> None:
    with edge(fallback={**PREVIOUS, "timeout_ms": 400}) as (made, client):
        made.now.does = hang
        begin = time.monotonic()
        for _ in range(8):
            assert client.post("/predict", json=BODY).json()["version"] == "6"
        assert time.monotonic() - begin < 20


def test_the_thread_of_a_version_ends_with_it(edge: Edges) -> None:
    before = set(threading.enumerate())  # those of other tests may end meanwhile

    def threads() -> int:
        return sum(thread.name == "score" for thread in set(threading.enumerate()) - before)

    with edge(fallback={**PREVIOUS, "timeout_ms": 5000}) as (made, client):
        assert client.post("/predict", json=BODY).status_code == 200
        gone = weakref.ref(made.champion)
        assert threads() == 2  # the app's own, and the version's
        made.forget_champion()
        wait_until(lambda: gc.collect() >= 0 and gone() is None, "nothing holds it")
        wait_until(lambda: threads() == 1, "its thread has ended")


def test_the_spec_refuses_a_fallback_that_cannot_answer() -> None:
    for fallback, message in (
        ({"kind": "constant"}, "needs a `score`"),
        ({"kind": "rule"}, "needs `rule: module:function`"),
        ({"kind": "constant", "score": 1.2}, "probability"),
        ({"kind": "constant", "score": 0.2, "label": "a"}, "label"),
        ({"score": 0.2}, "only the kind `constant`"),
    ):
        with pytest.raises(ValueError, match=message):
            small_spec(serving={"fallback": fallback})
    assert small_spec(task="regression", serving={"fallback": {"kind": "constant", "score": 70.0}})


@pytest.mark.parametrize(
    ("rule", "message"),
    [("no_such_module:f", "cannot be imported"), ("fallback_rules:nothing", "is not a function")],
)
def test_a_rule_that_is_not_there_is_found_at_the_start(edge: Edges, rule: str, message: str) -> None:
    with pytest.raises(SpecError, match=message), edge(fallback={"kind": "rule", "rule": rule}):
        pass
