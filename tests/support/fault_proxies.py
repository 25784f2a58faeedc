"""Proxies on loopback before HTTP servers and PostgreSQL; one chosen request through them is answered with an error, cut or delayed."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# Of one request; those that end in " + away" have the server refuse everything that comes after it, too.
HTTP_KINDS = ("500", "503", "cut", "lost", "torn", "delay", "500 + away", "cut + away", "lost + away")
POSTGRES_KINDS = ("error", "cut", "lost", "delay", "error + away", "cut + away", "lost + away")
_ENCRYPTION = ((80877103).to_bytes(4), (80877104).to_bytes(4))  # by TLS, by GSSAPI
_DELAY_SECONDS = 0.3
_VARYING = (
    (r"m-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|[0-9a-f]{16,64}", "*"),
    (r"files/md5/[0-9a-f]{2}/", "files/md5/*/"),
    (r"\d{4}-\d\d-\d\d", "DAY"),
    (r"(?<=[/=.\-_])\d+(?=[/.\-_]|$)", "N"),
)


def generic(text: str) -> str:
    """Return a path or a name without what differs from run to run.

    >>> generic("/mlflow-artifacts/12/6a3b0b2f8cb94f7a9e52d6a1c0ffee00/spec.json")
    '/mlflow-artifacts/N/*/spec.json'
    """
    for pattern, replacement in _VARYING:
        text = re.sub(pattern, replacement, text)
    return text


@dataclass(frozen=True)
class Fault:
    """The request that is disturbed: the n-th of those of a server that are alike, and how."""

    server: str
    request: str
    number: int
    kind: str

    def __str__(self) -> str:
        return f"{self.kind} at {self.server} {self.request} (number {self.number})"


@dataclass
class Faults:
    """What goes through all proxies since `begin`, and the one fault among it."""

    fault: Fault | None = None
    hits: int = 0
    seen: list[tuple[str, str, int]] = field(default_factory=list)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, fault: Fault | None = None) -> None:
        """Forget what was seen, and disturb a request from now on."""
        with self._lock:
            self.fault, self.hits, self.seen = fault, 0, []
            self._counts.clear()

    def kind_for(self, server: str, request: str) -> str:
        """Count a request, and return how it is disturbed; empty if it is not."""
        with self._lock:
            self._counts[server, request] += 1
            number, fault = self._counts[server, request], self.fault
            self.seen.append((server, request, number))
            if fault is None or fault.server != server:
                return ""
            if (fault.request, fault.number) == (request, number):
                self.hits += 1
                return fault.kind.partition(" ")[0]
            return "cut" if self.hits and fault.kind.endswith("away") else ""


class HttpProxy:
    """A proxy before an HTTP server.

    Parameters
    ----------
    target
        Address of the server.
    """

    def __init__(self, name: str, target: str, faults: Faults) -> None:
        self.name, self.faults, self.target = name, faults, urlsplit(target).netloc
        self._server = _HttpServer(("127.0.0.1", 0), _HttpHandler)
        self._server.daemon_threads = True
        self._server.proxy = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _HttpServer(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # of a client that was killed
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _HttpHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    upstream: HTTPConnection | None = None

    def handle_any(self) -> None:
        proxy: HttpProxy = self.server.proxy  # type: ignore[attr-defined]
        body = self._body()
        kind = proxy.faults.kind_for(proxy.name, f"{self.command} {generic(urlsplit(self.path).path)}")
        if kind in ("500", "503"):
            return self._answer(int(kind), [], b'{"error_code": "INTERNAL_ERROR", "message": "a fault"}')
        if kind == "cut":
            return self._cut()
        if kind == "delay":
            time.sleep(_DELAY_SECONDS)
        status, headers, content = self._forward(proxy.target, body)
        if kind == "lost":
            return self._cut()
        return self._answer(status, headers, content, torn=kind == "torn")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _forward(self, target: str, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        sent = {k: v for k, v in self.headers.items() if k.lower() not in ("transfer-encoding", "connection")}
        if body or self.command in ("POST", "PUT", "PATCH"):
            sent["Content-Length"] = str(len(body))
        for again in (True, False):
            if self.upstream is None:
                self.upstream = HTTPConnection(target, timeout=120)
            try:
                self.upstream.request(self.command, self.path, body, sent)
                response = self.upstream.getresponse()
                return response.status, response.getheaders(), response.read()
            except (OSError, HTTPException):  # an idle connection that the server has closed
                self.upstream.close()
                self.upstream = None
                if not again:
                    raise
        raise AssertionError

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, *, torn: bool = False
    ) -> None:
        self.send_response_only(status)
        given = {name.lower(): value for name, value in headers}
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = given.get("content-length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if torn else content)
        self.wfile.flush()
        if torn:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def finish(self) -> None:
        if self.upstream is not None:
            self.upstream.close()
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        pass


class PostgresProxy:
    """A proxy before PostgreSQL without encryption; a request is what the client sends until it waits for an answer."""

    def __init__(self, name: str, host: str, port: int, faults: Faults) -> None:
        self.name, self.faults, self._target = name, faults, (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError), socket.create_connection(self._target) as server:
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._exchange(client, server, "connect", _startup(client))
            while True:
                request, text = _request(client)
                self._exchange(client, server, text, request)

    def _exchange(self, client: socket.socket, server: socket.socket, text: str, request: bytes) -> None:
        kind = self.faults.kind_for(self.name, text) if text else ""
        if kind == "error":
            client.sendall(_message(b"E", b"SFATAL\0C57P01\0Mterminating connection: a fault\0\0"))
        if kind in ("cut", "error"):
            raise EOFError
        if kind == "delay":
            time.sleep(_DELAY_SECONDS)
        server.sendall(request)
        if not text:
            raise EOFError  # the client says good-bye
        answer, ended = b"", b""
        try:
            while ended != b"Z":
                ended, message = _read(server)
                answer += message
        except EOFError:  # it refuses the connection
            client.sendall(answer)
            raise
        if kind == "lost":
            raise EOFError
        client.sendall(answer)


def _startup(client: socket.socket) -> bytes:
    """Read a connection's first message; encryption is declined."""
    while True:
        size = _exactly(client, 4)
        message = size + _exactly(client, int.from_bytes(size) - 4)
        if message[4:] not in _ENCRYPTION:
            return message
        client.sendall(b"N")


def _request(client: socket.socket) -> tuple[bytes, str]:
    """Read messages until one that is answered; return them, and the beginning of their statement."""
    request, text = b"", "bound"
    while True:
        kind, message = _read(client)
        request += message
        if kind == b"X":
            return request, ""
        if kind in (b"Q", b"P"):
            start = 5 if kind == b"Q" else message.index(b"\0", 5) + 1
            text = _statement(message[start:].split(b"\0")[0].decode())
        if kind in (b"Q", b"S"):
            return request, text


def _statement(text: str) -> str:
    found = re.match(r"(?is)\s*(insert into|update|delete from|select\b.*?\bfrom)\s+(\w+)", text)
    return (
        f"{found[1].split()[0]} {found[2]}".lower() if found else text.strip().split("\n")[0][:40] or "ping"
    )


def _read(end: socket.socket) -> tuple[bytes, bytes]:
    head = _exactly(end, 5)
    return head[:1], head + _exactly(end, int.from_bytes(head[1:]) - 4)


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + (len(content) + 4).to_bytes(4) + content


def _exactly(end: socket.socket, size: int) -> bytes:
    parts: list[bytes] = []
    while size:
        part = end.recv(min(size, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
