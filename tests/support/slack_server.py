"""Slack's Web API on loopback: the wire protocol that slack_sdk speaks, its limits and its error codes."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.slack_limits import block_problems, blocks_width, units

TOKEN = "xoxb-000000000000-loopback"
SCOPES = {
    "auth.test": None,
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
    "conversations.list": "channels:read",
    "conversations.info": "channels:read",
    "conversations.history": "channels:history",
    "conversations.replies": "channels:history",
}
ALL_SCOPES = frozenset({"chat:write", "files:write", "channels:read", "channels:history"})


@dataclass
class Posted:
    """A message as Slack keeps it."""

    ts: str
    channel: str
    text: str
    blocks: list[dict[str, Any]]
    thread_ts: str | None
    metadata: dict[str, Any]
    broadcast: bool = False
    edits: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Uploaded:
    """A file as Slack keeps it."""

    id: str
    filename: str
    length: int
    alt_txt: str
    content: bytes = b""
    title: str = ""
    channel: str | None = None
    thread_ts: str | None = None

    @property
    def shared(self) -> bool:
        return self.channel is not None


@dataclass(frozen=True)
class _Fault:
    error: str
    status: int
    retry_after: int | None
    extra: Mapping[str, Any]


class SlackError(Exception):
    """An answer with ``ok: false``."""

    def __init__(self, code: str, **extra: Any) -> None:
        super().__init__(code)
        self.body = {"ok": False, "error": code, **extra}


class FakeSlack:
    """A workspace of one token.

    Parameters
    ----------
    token
        The only valid bearer token.
    channels
        Name without ``#`` and id of the channels that the app may post in.
    closed_channels
        Channels that exist, but that the app has not been invited to.
    scopes
        What the token may do.
    """

    def __init__(
        self,
        token: str = TOKEN,
        channels: Mapping[str, str] | None = None,
        closed_channels: Mapping[str, str] | None = None,
        scopes: frozenset[str] = ALL_SCOPES,
    ) -> None:
        self.token = token
        self.channels = dict(channels or {"ml-alerts": "C0000000001"})
        self.closed_channels = dict(closed_channels or {"secret": "C0000000009"})
        self.scopes = scopes
        self.messages: list[Posted] = []
        self.files: list[Uploaded] = []
        self.calls: list[str] = []
        self.page_size = 100
        self.delay = 0.0
        self.uploads_at = ""  # where files are uploaded to, if not here
        self._faults: dict[str, deque[_Fault]] = {}
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> FakeSlack:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        server.slack = self  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self._server = server
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        assert self._server is not None, "use FakeSlack as a context manager"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def base_url(self) -> str:
        return f"{self.address}/api/"

    def connection_json(self, token: str | None = None) -> str:
        """Return the value of ``AIRFLOW_CONN_...`` that leads here."""
        return json.dumps(
            {"conn_type": "slack", "password": token or self.token, "extra": {"base_url": self.base_url}}
        )

    def fail(
        self,
        method: str,
        error: str,
        *,
        times: int = 1,
        status: int = 200,
        retry_after: int | None = None,
        **extra: Any,
    ) -> None:
        """Answer the next calls of a method (or of ``upload``) with an error.

        ``hang up`` closes the line instead; ``lost answer`` does what was asked, and closes the line then.
        """
        faults = self._faults.setdefault(method, deque())
        faults.extend([_Fault(error, status, retry_after, extra)] * times)

    def thread(self, ts: str) -> list[Posted]:
        """Return the answers to a message."""
        return [message for message in self.messages if message.thread_ts == ts]

    def next_fault(self, method: str) -> _Fault | None:
        with self._lock:
            self.calls.append(method)
            waiting = self._faults.get(method)
            return waiting.popleft() if waiting else None

    def call(self, method: str, token: str | None, args: dict[str, Any]) -> dict[str, Any]:
        """Answer one call of the Web API."""
        if not token:
            raise SlackError("not_authed")
        if token != self.token:
            raise SlackError("invalid_auth")
        if method not in SCOPES:
            raise SlackError("unknown_method", req_method=method)
        time.sleep(self.delay)
        scope = SCOPES[method]
        if scope and scope not in self.scopes:
            raise SlackError("missing_scope", needed=scope, provided=",".join(sorted(self.scopes)))
        with self._lock:
            return {"ok": True, **_METHODS[method](self, args)}

    def channel_id(self, asked: Any, *, by_id_only: bool = False) -> str:
        wanted = str(asked or "")
        for known, open_to_app in ((self.channels, True), (self.closed_channels, False)):
            by_name: dict[str, str] = (
                {} if by_id_only else {**known, **{f"#{name}": id_ for name, id_ in known.items()}}
            )
            if wanted in known.values() or wanted in by_name:
                if not open_to_app:
                    raise SlackError("not_in_channel")
                return by_name.get(wanted, wanted)
        raise SlackError("channel_not_found")

    def auth_test(self, args: dict[str, Any]) -> dict[str, Any]:
        return {
            "url": self.address,
            "team": "Loopback",
            "user": "evermodel",
            "team_id": "T0",
            "user_id": "U0",
        }

    def post(self, args: dict[str, Any]) -> dict[str, Any]:
        channel = self.channel_id(args.get("channel"))
        text, blocks = _checked_content(args, most_text=40_000)
        thread_ts = args.get("thread_ts") or None
        if thread_ts and all(message.ts != thread_ts for message in self.messages):
            raise SlackError("thread_not_found")
        posted = Posted(
            ts=f"{int(time.time())}.{len(self.messages) + 1:06d}",
            channel=channel,
            text=text,
            blocks=blocks,
            thread_ts=thread_ts,
            metadata=_json(args.get("metadata")) or {},
            broadcast=_true(args.get("reply_broadcast")),
        )
        self.messages.append(posted)
        return {
            "channel": channel,
            "ts": posted.ts,
            "message": {"text": text, "ts": posted.ts, "blocks": blocks},
        }

    def history(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return what the channel shows: its messages and the answers that were shown to all, newest first."""
        channel = self.channel_id(args.get("channel"), by_id_only=True)
        shown = [m for m in self.messages if m.channel == channel and (not m.thread_ts or m.broadcast)]
        return self._page(args, shown[::-1])

    def replies(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return a thread: its first message always, then the answers."""
        channel = self.channel_id(args.get("channel"), by_id_only=True)
        root = str(args.get("ts"))
        if all(message.ts != root for message in self.messages):
            raise SlackError("thread_not_found")
        page = self._page(
            args, [m for m in self.messages if m.channel == channel and root in (m.ts, m.thread_ts)], root
        )
        files = [file for file in self.files if file.channel == channel and file.thread_ts == root]
        page["messages"] += [{"ts": root, "thread_ts": root, "files": [{"name": f.filename}]} for f in files]
        return page

    def _page(self, args: dict[str, Any], found: list[Posted], always: str = "") -> dict[str, Any]:
        oldest, start = float(args.get("oldest") or 0), int(args.get("cursor") or 0)
        wanted = [m for m in found if float(m.ts) > oldest or m.ts == always]
        end = start + min(int(args.get("limit") or 100), self.page_size)
        shown = [{"ts": m.ts, "text": m.text, "thread_ts": m.thread_ts} for m in wanted[start:end]]
        if _true(args.get("include_all_metadata")):
            for entry, message in zip(shown, wanted[start:end], strict=True):
                entry["metadata"] = message.metadata  # type: ignore[assignment]
        following = str(end) if end < len(wanted) else ""
        return {
            "messages": shown,
            "has_more": bool(following),
            "response_metadata": {"next_cursor": following},
        }

    def update(self, args: dict[str, Any]) -> dict[str, Any]:
        channel = self.channel_id(args.get("channel"), by_id_only=True)
        text, blocks = _checked_content(args, most_text=4_000)
        for message in self.messages:
            if message.channel == channel and message.ts == args.get("ts"):
                message.edits.append({"text": message.text, "blocks": message.blocks})
                message.text, message.blocks = text, blocks
                message.metadata = _json(args.get("metadata")) or message.metadata
                return {"channel": channel, "ts": message.ts, "text": text}
        raise SlackError("message_not_found")

    def upload_url(self, args: dict[str, Any]) -> dict[str, Any]:
        if not args.get("filename") or not str(args.get("length", "")).isdigit():
            raise SlackError("invalid_arguments")
        new = Uploaded(
            f"F{len(self.files) + 1:010d}", args["filename"], int(args["length"]), args.get("alt_txt", "")
        )
        self.files.append(new)
        return {"upload_url": f"{self.uploads_at or self.address}/upload/v1/{new.id}", "file_id": new.id}

    def complete_upload(self, args: dict[str, Any]) -> dict[str, Any]:
        channel = self.channel_id(args["channel_id"], by_id_only=True) if args.get("channel_id") else None
        done = []
        for named in _json(args.get("files")) or []:
            file = next((f for f in self.files if f.id == named["id"]), None)
            if file is None or len(file.content) != file.length:
                raise SlackError("file_not_found")
            file.title, file.channel, file.thread_ts = named.get("title", ""), channel, args.get("thread_ts")
            done.append({"id": file.id, "title": file.title})
        if not done:
            raise SlackError("invalid_arguments")
        return {"files": done}

    def list_channels(self, args: dict[str, Any]) -> dict[str, Any]:
        known = {**self.channels, **self.closed_channels}
        return {
            "channels": [
                {"id": id_, "name": name, "is_member": name in self.channels} for name, id_ in known.items()
            ],
            "response_metadata": {"next_cursor": ""},
        }

    def channel_info(self, args: dict[str, Any]) -> dict[str, Any]:
        for channel in self.list_channels({})["channels"]:
            if channel["id"] == args.get("channel"):
                return {"channel": channel}
        raise SlackError("channel_not_found")

    def receive(self, file_id: str, content: bytes) -> bool:
        """Take the content of an announced file."""
        for file in self.files:
            if file.id == file_id:
                file.content = content
                return True
        return False


_METHODS = {
    "auth.test": FakeSlack.auth_test,
    "chat.postMessage": FakeSlack.post,
    "chat.update": FakeSlack.update,
    "files.getUploadURLExternal": FakeSlack.upload_url,
    "files.completeUploadExternal": FakeSlack.complete_upload,
    "conversations.list": FakeSlack.list_channels,
    "conversations.info": FakeSlack.channel_info,
    "conversations.history": FakeSlack.history,
    "conversations.replies": FakeSlack.replies,
}


def _checked_content(args: dict[str, Any], most_text: int) -> tuple[str, list[dict[str, Any]]]:
    text, blocks = str(args.get("text") or ""), _json(args.get("blocks")) or []
    if not text and not blocks:
        raise SlackError("no_text")
    if units(text) > most_text:
        raise SlackError("msg_too_long")
    problems = block_problems(blocks)
    if problems:
        raise SlackError("invalid_blocks", errors=problems, response_metadata={"messages": problems})
    if blocks_width(blocks) > 10_000:
        raise SlackError("msg_blocks_too_long")
    return text, blocks


def _true(value: Any) -> bool:
    return str(value).lower() in ("true", "1")


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value else value


class _Handler(BaseHTTPRequestHandler):
    """One request, in the ways slack_sdk sends them: JSON, form-encoded, or in the query."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        place = urlsplit(self.path)
        slack: FakeSlack = self.server.slack  # type: ignore[attr-defined]
        uploading = place.path.startswith("/upload/v1/")
        method = "upload" if uploading else place.path.removeprefix("/api/")
        fault = slack.next_fault(method)
        if fault is not None and fault.error == "lost answer":
            slack.call(method, slack.token, self._arguments(place.query, body))
            self.close_connection = True
        elif fault is not None:
            self._refuse(fault)
        elif uploading:
            taken = slack.receive(place.path.rsplit("/", 1)[-1], body)
            self._answer(200 if taken else 404, f"OK - {len(body)}" if taken else "not found")
        else:
            self._call(slack, method, self._arguments(place.query, body))

    do_GET = do_POST

    def _call(self, slack: FakeSlack, method: str, args: dict[str, Any]) -> None:
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        try:
            self._answer(200, slack.call(method, bearer or args.pop("token", None), args))
        except SlackError as error:
            self._answer(200, error.body)

    def _arguments(self, query: str, body: bytes) -> dict[str, Any]:
        kind = self.headers.get("Content-Type", "").split(";")[0].strip()
        args: dict[str, Any] = {name: values[-1] for name, values in parse_qs(query).items()}
        if kind == "application/json":
            args.update(json.loads(body or b"{}"))
        elif kind == "application/x-www-form-urlencoded":
            args.update({name: values[-1] for name, values in parse_qs(body.decode()).items()})
        return args

    def _refuse(self, fault: _Fault) -> None:
        if fault.error == "hang up":
            self.close_connection = True
            return
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        self._answer(fault.status, {"ok": False, "error": fault.error, **fault.extra}, headers)

    def _answer(self, status: int, content: Any, headers: Mapping[str, str] | None = None) -> None:
        plain = isinstance(content, str)
        body = (content if plain else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if plain else "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if not plain:
            self.send_header("x-oauth-scopes", ",".join(sorted(self.server.slack.scopes)))  # type: ignore[attr-defined]
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""
