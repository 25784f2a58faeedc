"""Requests from Slack: what is taken for one, and where replies may go."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from slack_sdk.signature import SignatureVerifier
from starlette.applications import Starlette

from evermodel.alerts.accepted_requests import accept_once
from evermodel_provider.notifications.slack_app import SlackApp
from evermodel_provider.ui.slack_actions import SlackActions
from evermodel_provider.ui.slack_request import MOST_BYTES, RefusedError, may_reply, payload_of, verify

SECRET = "a secret"


def headers(body: bytes, secret: str = SECRET, stamp: str | None = None) -> dict[str, str]:
    stamp = stamp or str(int(time.time()))
    signature = SignatureVerifier(secret).generate_signature(timestamp=stamp, body=body)
    assert signature
    return {"x-slack-request-timestamp": stamp, "x-slack-signature": signature}


def _database(folder: Path) -> str:
    return f"sqlite:///{folder}/evermodel.db"


def test_one_of_many_copies_is_taken(tmp_path: Path) -> None:
    signed = headers(b"payload={}")

    def taken(number: int) -> bool:
        try:
            verify(SECRET, signed, b"payload={}", _database(tmp_path))
        except RefusedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(taken, range(16))) == 1


def test_without_a_memory_nothing_is_taken(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("a file where the folder should be")
    with pytest.raises(RefusedError, match="a repetition cannot be excluded"):
        verify(SECRET, headers(b"x"), b"x", f"sqlite:///{tmp_path}/made/evermodel.db")


def test_what_is_too_old_to_be_accepted_again_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accept_once(_database(tmp_path), "v0=1")
    assert not accept_once(_database(tmp_path), "v0=1")
    monkeypatch.setattr("evermodel.alerts.accepted_requests._KEPT_SECONDS", -60)
    assert accept_once(_database(tmp_path), "v0=2")
    assert accept_once(_database(tmp_path), "v0=1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"x-slack-signature": "v0=é"},
        {"x-slack-signature": ""},
        {"x-slack-request-timestamp": "yesterday"},
        {"x-slack-request-timestamp": "²"},
    ],
)
def test_nonsense_is_refused(wrong: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(RefusedError):
        verify(SECRET, {**headers(b"x"), **wrong}, b"x", _database(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"payload=", b"payload=[1]", b"other=1", b"\xff", b"payload={"])
def test_a_body_that_is_no_button_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError):
        payload_of(body)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.slack.com/actions/T/1/x", True),
        ("http://hooks.slack.com/actions/T/1/x", False),
        ("https://hooks.slack.com@evil.example/", False),
        ("https://hooks.slack.com.evil.example/", False),
        ("https://hooks.slack.com:8443/", False),
        ("http://127.0.0.1:9000/x", True),
        ("http://127.0.0.1:9001/x", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_replies_go_to_slack_or_to_the_server_that_stands_for_it_on_this_machine(
    url: str, allowed: bool
) -> None:
    assert may_reply(url, "http://127.0.0.1:9000/api/") is allowed
    assert may_reply(url, "http://10.0.0.1:9000/api/") is (allowed and "slack" in url)
    assert may_reply(url, "") is (allowed and "slack" in url)


def test_the_app_comes_from_the_environment_and_its_secret_is_not_shown() -> None:
    environ = {
        "EVERMODEL_SLACK_SIGNING_SECRET": "s1",
        "EVERMODEL_SLACK_SIGNING_SECRET_TEAM_B": "s2",
        "EVERMODEL_SLACK_USERS": '{"U1": "ada"}',
    }
    app = SlackApp.of("slack_api_default", environ)
    assert app == SlackApp("slack_api_default", "s1", {"U1": "ada"})
    assert "s1" not in repr(app)
    assert SlackApp.of("team-b", environ) == SlackApp("team-b", "s2", {"U1": "ada"})
    assert SlackApp.of("team_c", environ) is None, "a connection has a secret of its own, or no buttons"
    assert SlackApp.of("slack_api_default", {"EVERMODEL_SLACK_SIGNING_SECRET": " "}) is None


async def test_the_endpoint_tells_nothing_to_those_who_are_not_slack(tmp_path: Path) -> None:
    asked: list[str] = []

    def connect(name: str) -> SlackApp | None:
        asked.append(name)
        return SlackApp(name, SECRET, {}) if name == "mine" else None

    outer = Starlette()
    outer.mount("/slack", SlackActions(connect, _database(tmp_path)))
    transport = httpx.ASGITransport(outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
        body, large = b"payload={}", b"x" * (MOST_BYTES + 1)
        answers = [
            await client.get("/slack/actions"),
            await client.post("/slack/actions", content=body),
            await client.post("/slack/actions", content=body, headers=headers(body)),
            await client.post("/slack/actions/a/b", content=body, headers=headers(body)),
            await client.post("/slack/else", content=body, headers=headers(body)),
            await client.post("/slack/actions/mine", content=large, headers=headers(large)),
        ]
        assert {(answer.status_code, answer.content) for answer in answers} == {(401, b"")}
        assert asked == ["slack_api_default"], "what cannot be genuine costs no look at a connection"
        fine = await client.post("/slack/actions/mine", content=body, headers=headers(body))
        assert (fine.status_code, asked[-1]) == (200, "mine")
