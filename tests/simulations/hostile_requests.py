"""The most expensive requests that pass the limits of the serving app, as one write to a connection each."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

SMALL, LARGE = 32_000, 1_000_000  # bytes of a body: checked on the event loop, and beside it
_NUMBER = b"9" * 4000


def hostile_requests(row: dict[str, Any], max_rows: int = 1000, model: str = "small") -> dict[str, bytes]:
    """Return the requests by kind; each is one write to a connection, and is answered.

    Parameters
    ----------
    row
        A valid row of the model.
    max_rows
        Most rows of one request.
    model
        Its name.
    """
    wild = json.dumps(row)
    first = next(name for name, value in row.items() if isinstance(value, int | float))
    text = next(name for name, value in row.items() if isinstance(value, str))
    bodies: dict[str, bytes] = {}
    for size, room in (("31 KB", SMALL), ("1 MB", LARGE)):
        bodies |= {
            f"{size} of {kind}": body
            for kind, body in {
                "unknown names": _object((f'"{first}{i}":1' for i in range(room)), room),
                "unknown names of one letter": _object((f'"{chr(0x4E00 + i)}":1' for i in range(9999)), room),
                "one long unknown name": b'{"row":{"' + b"n" * room + b'":1}}',
                "one long category": json.dumps({"row": {**row, text: "\u00e9" * (room // 6)}}).encode(),
                "one key again and again": _object((f'"{first}":1' for _ in range(room)), room),
                "empty objects": _rows("{}", room),
                "empty lists": _rows("[]", room),
                "empty lists as a value": b'{"row":{"%s":[%s]}}' % (first.encode(), _repeat(b"[],", room)),
                "numbers": _rows("1", room),
                "nested lists": b'{"rows":[' + b"[" * (room // 2) + b"]" * (room // 2) + b"]}",
                "nested objects": b'{"rows":[' + b'{"a":' * (room // 6) + b"1" + b"}" * (room // 6) + b"]}",
                "huge numbers": b'{"rows":[' + _repeat(_NUMBER + b",", room) + b"]}",
                "NaN at the end": b'{"rows":[' + _repeat(b"[],", room) + b",NaN]}",
                "lone surrogates": _rows('{"\\ud800":"\\ud800"}', room),
                "rows": b'{"rows":['
                + ",".join([wild] * min(max_rows, room // (len(wild) + 1))).encode()
                + b"]}",
                "rows without an end": b'{"rows":[' + ",".join([wild] * (room // (len(wild) + 1))).encode(),
                "spaces": b'{"rows":[' + b" " * room + b"]}",
            }.items()
        }
    requests = {kind: post("/predict", body) for kind, body in bodies.items()}
    requests |= _of_other_protocols(row, max_rows, model)
    chunk = b"1\r\n \r\n"
    requests |= {
        "many small chunks": _head("POST", "/predict", "Transfer-Encoding: chunked")
        + chunk * 40_000
        + b"0\r\n\r\n",
        "many headers": _head("GET", "/health", *(f"a{i % 10}: " for i in range(9000))),
        "100 headers": _head("GET", "/health", *(f"a{i}: " + "b" * 500 for i in range(100))),
        "one long header": _head("GET", "/health", "X-Subject-ID: " + "s" * 60_000),
        "many subjects": _head("POST", "/predict", *["X-Subject-ID: "] * 3000, "Content-Length: 0"),
        "a long path": _head("GET", "/" + "a" * 8_000),
        "an escaped path": _head("GET", "/" + "%41" * 20_000),
        "an escaped model": post("/models/" + "%41" * 20_000 + "/predict", b"{}"),
        "a path with many slashes": _head("GET", "/models/" + "/" * 60_000),
        "an address of 8 KB": _head("GET", "/health?" + "a=%41&" * 1300),
        "an escaped path of 8 KB": _head("GET", "/" + "%41" * 2600),
        "a long query": _head("GET", "/health?" + "a=%41&" * 10_000),
        "a long query of a path that moved": _head("GET", "/health/?" + "a=%41&" * 10_000),
        "a wrong method": _head("PATCH", "/models/" + "a" * 60_000 + "/predict"),
        "a wrong token": _head("GET", "/models", "Authorization: Bearer " + "t" * 60_000),
        "9,000 requests at once": b"GET /health HTTP/1.1\r\nHost:\r\n\r\n" * 9000,
        **{
            path: _head("GET", path)
            for path in ("/health", "/ready", "/models", "/metrics", "/docs", "/openapi.json")
        },
    }
    return requests


def _of_other_protocols(row: dict[str, Any], max_rows: int, model: str) -> dict[str, bytes]:
    """Return what V2 and MLflow's protocol add: columns, binary data, and lengths that lie."""
    names = list(row)
    found = {}
    for size, room in (("31 KB", SMALL), ("1 MB", LARGE)):
        rows = min(max_rows, room // (len(json.dumps(row)) + 60))
        values = {name: [row[name]] * rows for name in names}
        frame = {"columns": names, "data": [list(row.values())] * rows}
        frames = {
            "a frame": json.dumps({"dataframe_split": frame}).encode(),
            "a frame with NaN": json.dumps({"dataframe_split": frame}).encode()[:-3] + b",[NaN]]}}",
            "a frame of empty lists": b'{"dataframe_split":{"columns":[],"data":[%b]}}'
            % _repeat(b"[],", room),
            "records of one letter": b'{"instances":[%b]}' % _repeat(b'{"a":1},', room),
            "columns of numbers": b'{"inputs":{"a":[%b]}}' % _repeat(b"1,", room),
            "columns with huge numbers": b'{"inputs":{"a":[%b,NaN]}}' % _repeat(b"9" * 30 + b",", room),
        }
        found |= {f"{size} of {kind}": post("/invocations", body) for kind, body in frames.items()}
        tensors = {
            "tensors": _tensors({name: _tensor(name, one) for name, one in values.items()}.values()),
            "empty tensors": b'{"inputs":[%b]}' % _repeat(b"{},", room),
            "tensors of one name": b'{"inputs":[%b]}'
            % _repeat(json.dumps(_tensor("a", [1.0])).encode() + b",", room),
            "a tensor of empty lists": b'{"inputs":[{"name":"a","shape":[%d],"datatype":"FP64","data":[%b]}]}'
            % (max_rows, _repeat(b"[],", room)),
            "a tensor with a long name": _tensors([_tensor("n" * room, [1.0])]),
            "a tensor with a long shape": b'{"inputs":[{"name":"a","shape":[%b],"datatype":"FP64"}]}'
            % _repeat(b"1,", room),
            "outputs": b'{"inputs":[1],"outputs":[%b]}' % _repeat(b'{"name":"score"},', room),
        }
        path = f"/v2/models/{model}/infer"
        found |= {f"{size} of {kind}": post(path, body) for kind, body in tensors.items()}
        head = {
            "name": names[0],
            "shape": [max_rows],
            "datatype": "BYTES",
            "parameters": {"binary_data_size": room},
        }
        text = json.dumps({"inputs": [head]}).encode()
        length = f"Inference-Header-Content-Length: {len(text)}"
        found[f"{size} of empty texts"] = post(path, text + b"\0" * room, length)
        found[f"{size} of JSON that is said to be short"] = post(
            path, b"[" * room, "Inference-Header-Content-Length: 1"
        )
    return found


def _tensors(tensors: Iterable[dict[str, Any]]) -> bytes:
    return json.dumps({"inputs": list(tensors)}).encode()


def _tensor(name: str, values: list[Any]) -> dict[str, Any]:
    datatype = "BYTES" if isinstance(values[0], str) else "FP64"
    return {"name": name, "shape": [len(values)], "datatype": datatype, "data": values}


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Return a prediction request."""
    return _head("POST", path, f"Content-Length: {len(body)}", *headers) + body


def send_alone(port: int, request: bytes) -> bytes:
    """Send a request on a connection of its own; return the first line of the answer, after reading all of it."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection, suppress(OSError):
        with suppress(OSError):  # what is refused early is not read to its end
            connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
            answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        left = sum(int(line[15:]) for line in lines if line.startswith(b"content-length:")) - len(body)
        while left > 0 and (part := connection.recv(65536)):
            left -= len(part)
        return answer.partition(b"\r\n")[0]
    return b""


def _head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: x", *headers, "", "")).encode()


def _repeat(part: bytes, room: int) -> bytes:
    return (part * (room // len(part)))[:-1]


def _rows(part: str, room: int) -> bytes:
    return b'{"rows":[' + _repeat(part.encode() + b",", room) + b"]}"


def _object(parts: Iterable[str], room: int) -> bytes:
    found: list[str] = []
    size = 0
    for part in parts:
        size += len(part.encode()) + 1
        if size > room:
            break
        found.append(part)
    return b'{"row":{' + ",".join(found).encode() + b"}}"
