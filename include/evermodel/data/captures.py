"""Readers of logs that serving platforms write, for a source of kind python: requests and responses become rows.

Each gives the columns ``request_id``, ``time``, the features and ``prediction``. A request of several rows gives
``<id>/0``, ``<id>/1`` and so on. Requests that cannot be read are skipped and counted in the log, up to one in ten.
"""

from __future__ import annotations

import base64
import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import SourceError
from evermodel.core.logins import without_login
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

_REQUEST, _RESPONSE = "inference.request", "inference.response"
_MOST_SKIPPED = 0.1  # of the requests: beyond, the log has another format
_LOG = logging.getLogger(__name__)
Row = dict[str, Any]


def sagemaker_capture(
    start: datetime, end: datetime, *, path: str, features: Sequence[str], answer: str | int | None = None
) -> pa.Table:
    """Read the JSON Lines of SageMaker's data capture.

    Parameters
    ----------
    path
        Glob or URL of the files; ``{day:%Y/%m/%d}`` in it is replaced by each day of the interval.
    features
        Names of the columns of a request that has none, such as CSV, in their order.
    answer
        Of a response with several values for each row, the key or place of the prediction; default: ``score``, or the last.

    Raises
    ------
    SourceError
        More than one request in ten cannot be read: it is no record of a capture, or its response has another number of rows.
    """

    log = _Log()
    for place, record in _lines(path, start, end, log):
        with log.reading(place):
            about, captured = record["eventMetadata"], record["captureData"]
            name = about.get("inferenceId") or about["eventId"]
            asked, told = (_captured(captured[side]) for side in ("endpointInput", "endpointOutput"))
            log.add(_rows(name, about["inferenceTime"], asked, told, features, answer))
    return _table(log.checked(), start, end, features)


def inference_events(
    start: datetime, end: datetime, *, path: str, features: Sequence[str], answer: str | int | None = None
) -> pa.Table:
    """Read the CloudEvents of the request loggers of KServe and Seldon Core, one JSON object a line; see `sagemaker_capture`.

    Payloads are of the V1 protocol (``instances``) or the V2 protocol, which MLServer speaks too. A request without a response,
    such as one that failed, gives no row.
    """

    log = _Log()
    waiting: dict[str, tuple[str, Any]] = {}
    for place, event in _lines(path, start, end, log):
        with log.reading(place):
            name, kind, data = event["id"], event["type"], event["data"]
            data = json.loads(data) if isinstance(data, str) else data
            if not kind.endswith((_REQUEST, _RESPONSE)):
                continue
            if name not in waiting:  # a response may come before its request
                waiting[name] = (event["time"], (kind, data))
                continue
            at, (first, other) = waiting.pop(name)
            asked, told = (other, data) if first.endswith(_REQUEST) else (data, other)
            log.add(_rows(name, min(at, event["time"]), asked, told, features, answer))
    return _table(log.checked(), start, end, features)


def inference_table(
    start: datetime,
    end: datetime,
    *,
    path: str,
    features: Sequence[str] = (),
    answer: str | int | None = None,
) -> pa.Table:
    """Read an inference table of Databricks or MLflow, a Delta table; see `sagemaker_capture`.

    Parameters
    ----------
    path
        Folder or URL of the table, with the columns ``databricks_request_id``, ``timestamp_ms``, ``request``, ``response``
        and, of those that failed, ``status_code``.
    """
    from deltalake import DeltaTable

    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    ends = [(moment - epoch) // timedelta(milliseconds=1) for moment in (start, end)]
    table = DeltaTable(path).to_pyarrow_table(
        filters=[("timestamp_ms", ">=", ends[0]), ("timestamp_ms", "<", ends[1])]
    )

    log = _Log()
    for record in table.to_pylist():
        name = record.get("client_request_id") or record["databricks_request_id"]
        if str(record.get("status_code") or 200) != "200":
            continue
        with log.reading(f"{without_login(path) if '://' in path else path}: request {name}"):
            at = (epoch + timedelta(milliseconds=record["timestamp_ms"])).isoformat()
            asked, told = (json.loads(record[side]) for side in ("request", "response"))
            log.add(_rows(name, at, asked, told, features, answer))
    return _table(log.checked(), start, end, features)


class _Log:
    """The rows of a log so far; requests that cannot be read are skipped."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.read = 0
        self.skipped: list[str] = []

    @contextmanager
    def reading(self, place: str) -> Iterator[None]:
        """Read one request; one that cannot be read is skipped with its place."""
        try:
            yield
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError) as error:
            self.skipped.append(f"{place} cannot be read: {type(error).__name__}: {error}")

    def add(self, rows: list[Row]) -> None:
        """Add the rows of a request."""
        self.rows += rows
        self.read += 1

    def checked(self) -> list[Row]:
        """Return the rows; raise `SourceError` if so many requests are skipped that the log has another format."""
        aside, requests = len(self.skipped), self.read + len(self.skipped)
        if aside > _MOST_SKIPPED * requests:
            raise SourceError(
                f"{self.skipped[0]} ({aside} of {requests} requests)",
                "check that the file is of this format, and `features` and `answer` of the source's arguments",
            )
        if aside:
            _LOG.warning("%d of %d requests are skipped; the first: %s", aside, requests, self.skipped[0])
        return self.rows


def _lines(path: str, start: datetime, end: datetime, log: _Log) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the objects of files of JSON Lines, each with its place."""
    import fsspec

    days: list[date | None] = list(Window(start, end).days()) if "{day" in path else [None]
    for day in days:
        for file in fsspec.open_files(path.format(day=day) if day else path, "rt", encoding="utf-8"):
            with file as lines:
                for number, line in enumerate(lines, 1):
                    place = f"{without_login(file.path) if '://' in file.path else file.path}, line {number}"
                    record = None
                    with log.reading(place):
                        record = json.loads(line) if line.strip() else None
                    if record is not None:
                        yield place, record


def _captured(side: Mapping[str, Any]) -> Any:
    data, kind = side["data"], side.get("observedContentType", "")
    if side.get("encoding") == "BASE64":
        data = base64.b64decode(data).decode()
    if side.get("encoding") == "JSON" or "json" in kind:
        return json.loads(data)
    return [[_number(cell) for cell in row] for row in csv.reader(data.splitlines()) if row]


def _number(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None


def _rows(
    name: str, at: str, asked: Any, told: Any, features: Sequence[str], answer: str | int | None
) -> list[Row]:
    moment = datetime.fromisoformat(_microseconds(at))
    inputs, outputs = list(_inputs(asked, features)), list(_outputs(told))
    if len(inputs) != len(outputs):
        raise ValueError(f"request {name} has {len(inputs)} rows, its response {len(outputs)}")
    return [
        {
            **row,
            "request_id": name if len(inputs) == 1 else f"{name}/{number}",
            "time": moment,
            "prediction": _answer(found, answer),
        }
        for number, (row, found) in enumerate(zip(inputs, outputs, strict=True))
    ]


def _inputs(payload: Any, features: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a request: CSV, V1, V2, or one of MLflow's forms."""
    if isinstance(payload, dict) and "dataframe_split" in payload:
        split = payload["dataframe_split"]
        yield from (dict(zip(split["columns"], row, strict=True)) for row in split["data"])
        return
    found = payload
    if isinstance(payload, dict):
        keys = ("dataframe_records", "inputs", "data")
        found = payload[next((key for key in keys if key in payload), "instances")]
    if isinstance(found, dict):  # MLflow's columns by name
        yield from (dict(zip(found, row, strict=True)) for row in zip(*found.values(), strict=True))
    elif found and isinstance(found[0], dict) and "datatype" in found[0]:
        yield from _tensors(found, features)
    else:
        rows = found if found and isinstance(found[0], list | dict) else [found]
        yield from (row if isinstance(row, dict) else dict(zip(features, row, strict=True)) for row in rows)


def _tensors(tensors: Sequence[Mapping[str, Any]], features: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of a V2 request: one tensor with all columns, or one for each column."""
    first = tensors[0]
    if len(tensors) == 1 and len(first["shape"]) == 2 and first["shape"][1] == len(features) > 1:
        yield from (dict(zip(features, row, strict=True)) for row in _matrix(first))
        return
    columns = {tensor["name"]: [_only(value) for value in tensor["data"]] for tensor in tensors}
    yield from (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _matrix(tensor: Mapping[str, Any]) -> list[list[Any]]:
    data, width = tensor["data"], tensor["shape"][1]
    if data and isinstance(data[0], list):
        return list(data)
    return [data[place : place + width] for place in range(0, len(data), width)]


def _only(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _outputs(payload: Any) -> Sequence[Any]:
    """Return the answers of a response, one for each row."""
    if isinstance(payload, dict) and "outputs" in payload:
        tensor = payload["outputs"][0]
        wide = len(tensor["shape"]) == 2 and tensor["shape"][1] > 1
        return _matrix(tensor) if wide else tensor["data"]
    found = payload["predictions"] if isinstance(payload, dict) else payload
    return list(found)


def _answer(found: Any, answer: str | int | None) -> Any:
    if isinstance(found, dict):
        return found["score" if answer is None else answer]
    if isinstance(found, list):
        return found[-1 if answer is None else int(answer)]
    return found


def _table(rows: Sequence[Row], start: datetime, end: datetime, features: Sequence[str]) -> pa.Table:
    """Return the rows of an interval as columns."""
    import pyarrow as pa

    found = [row for row in rows if start <= row["time"] < end]
    names = dict.fromkeys(["request_id", "time", *features, "prediction", *(found[0] if found else ())])
    columns = {name: [row.get(name) for row in found] for name in names}
    kinds = {"time": pa.timestamp("us", tz="UTC"), "request_id": pa.string()}
    return pa.table({name: pa.array(values, kinds.get(name)) for name, values in columns.items()})


def _microseconds(text: str) -> str:
    """Return an ISO time that Python reads: with six decimals at most, and a zone."""
    head, dot, rest = text.replace("Z", "+00:00").partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{head}{dot}{rest[: min(digits, 6)].ljust(6, '0')}{rest[digits:]}" if dot else head
