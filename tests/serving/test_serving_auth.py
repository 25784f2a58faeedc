from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from evermodel.core.errors import SpecError
from evermodel.monitoring.performance.scrape import interval_of
from evermodel.serving.auth import TokenAuth, Tokens
from evermodel.serving.metrics import Metrics
from evermodel.serving.middleware import RequestIds
from evermodel.serving.protocols.addresses import Addresses
from evermodel.serving.run import _warn_if_open
from support.serving_models import running
from support.small_spec import small_spec

ONE, TWO, THREE = (letter * 20 for letter in "abc")


def protected(tokens: Tokens) -> Any:
    app = FastAPI()
    metrics = Metrics()
    metrics.requests.labels("small", "7", "200").inc(3)
    for path in ("/health", "/ready", "/models"):
        app.get(path)(lambda: {})

    @app.get("/metrics")
    def text() -> Any:
        from fastapi import Response

        return Response(metrics.text(), media_type=metrics.content_type)

    app.add_middleware(TokenAuth, tokens=tokens, addresses=Addresses())
    app.add_middleware(RequestIds)
    return app


def test_everything_but_health_and_ready_needs_a_good_token() -> None:
    client = TestClient(protected(Tokens((ONE, TWO))))
    for path in ("/health", "/ready"):
        assert client.get(path).status_code == 200
    for path in ("/models", "/metrics", "/docs", "/openapi.json", "/nothing", "/models/flights/predict"):
        refused = client.get(path)
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert refused.json()["request_id"] == refused.headers["X-Request-ID"]
    for token in (ONE, TWO):
        assert client.get("/models", headers={"Authorization": f"bearer {token}"}).status_code == 200
    bad = (
        f"Bearer {ONE}x",
        f"Bearer {ONE[:-1]}",
        f"Basic {ONE}",
        ONE,
        "Bearer",
        "Bearer é".encode("latin-1"),
    )
    for header in bad:
        assert client.get("/models", headers={"Authorization": header}).status_code == 401
    both = [("Authorization", f"Bearer {ONE}"), ("Authorization", f"Bearer {TWO}")]
    assert client.get("/models", headers=both).status_code == 401  # type: ignore[arg-type]


def test_tokens_of_a_file_rotate_without_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "evermodel.serving")
    file = tmp_path / "tokens"
    file.write_text(f"# of the shop\n{ONE}\n\n")
    tokens = Tokens.from_environment({"EVERMODEL_SERVING_TOKENS_FILE": str(file)})
    assert tokens is not None

    def good(token: str) -> bool:
        tokens._next_read = 0.0
        return tokens.caller(token.encode()) is not None

    assert [good(ONE), good(TWO), good("# of the shop")] == [True, False, False]
    file.write_text(f"{TWO}\n{THREE}\n")
    assert [good(ONE), good(TWO), good(THREE)] == [False, True, True]
    file.unlink()
    assert [good(ONE), good(TWO)] == [False, True]  # while the file is away, what was read last holds
    file.write_text("short\n")
    assert [good("short"), good(TWO)] == [False, True]
    file.write_text("")
    assert [good(""), good(TWO)] == [False, False]
    assert [message.split()[0] for message in caplog.messages] == [
        "event=tokens_read",
        "event=tokens_not_read",
        "event=tokens_read",
    ]
    assert not any(token in caplog.text for token in (ONE, TWO, THREE))


def test_what_cannot_protect_is_refused_at_the_start(tmp_path: Path) -> None:
    assert Tokens.from_environment({}) is None
    assert Tokens.from_environment({"EVERMODEL_SERVING_TOKENS": " , "}) is None
    for env, message in (
        ({"EVERMODEL_SERVING_TOKENS": f"{ONE},short"}, "fewer than 16"),
        ({"EVERMODEL_SERVING_TOKENS_FILE": str(tmp_path / "none")}, "cannot be read"),
        ({"EVERMODEL_SERVING_TOKENS_FILE": str(tmp_path / "empty")}, "has no token"),
    ):
        (tmp_path / "empty").touch()
        with pytest.raises(SpecError, match=message):
            Tokens.from_environment(env)


def test_a_token_has_the_rights_that_stand_behind_it() -> None:
    given = (f"{ONE} predict:flights caller:shop", f"{TWO} admin", f"{THREE} predict")
    client = TestClient(protected(Tokens(given)))
    allowed = {ONE: {"/models/flights/predict"}, TWO: {"/models", "/metrics"}}
    allowed[THREE] = {"/models/flights/predict", "/models/churn/predict"}
    for token, addresses in allowed.items():
        for path in ("/models", "/metrics", "/models/flights/predict", "/models/churn/predict"):
            method = "POST" if path.endswith("predict") else "GET"
            answer = client.request(method, path, headers={"Authorization": f"Bearer {token}"})
            assert (answer.status_code == 403) is (path not in addresses), (path, answer.status_code)
            if answer.status_code == 403:
                assert answer.json()["detail"].startswith("the token has no right `")
    for path in ("/models/churn%2Fpredict", "/models/ch%2575rn/predict", "/models/churn/predict/"):
        assert client.post(path, headers={"Authorization": f"Bearer {ONE}"}).status_code == 403


@pytest.mark.parametrize("words", ["predict:", "write", "caller:", "caller:a caller:b", "admin:flights"])
def test_an_unknown_right_is_refused(words: str) -> None:
    with pytest.raises(SpecError, match="unknown rights"):
        Tokens((f"{ONE} {words}",))


@pytest.mark.parametrize(
    ("host", "warned"), [("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("localhost", False)]
)
def test_an_open_door_is_told(
    host: str, warned: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVERMODEL_SERVING_TOKENS", raising=False)
    monkeypatch.delenv("EVERMODEL_SERVING_TOKENS_FILE", raising=False)
    _warn_if_open(host)
    assert ("event=open_to_all" in caplog.text) == warned
    caplog.clear()
    monkeypatch.setenv("EVERMODEL_SERVING_TOKENS", ONE)
    _warn_if_open(host)
    assert caplog.text == ""


def test_the_drift_dag_shows_its_token(tmp_path: Path) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    with running(protected(Tokens((ONE,)))) as client:
        url = str(client.base_url)
        without = interval_of(small_spec(), tmp_path / "a", [url], now, now)
        known = interval_of(small_spec(), tmp_path / "b", [url], now, now, token=ONE)
    assert without is not None
    assert known is not None
    assert "EVERMODEL_SERVING_TOKEN" in without.silent[0][1]
    assert known.counted.requests == {"200": 3.0}
    assert not any(ONE in file.read_text() for file in (tmp_path / "b").rglob("*.json"))
