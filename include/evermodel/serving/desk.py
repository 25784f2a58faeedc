"""Where a prediction request is answered: found, checked, scored, counted and logged."""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from evermodel.serving.batcher import Batcher
from evermodel.serving.holder import ModelHolder
from evermodel.serving.log import LoggedRequest, PredictionLog
from evermodel.serving.metrics import Metrics
from evermodel.serving.rows import RequestRefusedError, Row, parse_rows
from evermodel.serving.served import Answer, ServedModel

_LOG = logging.getLogger("evermodel.serving")
_SMALL_BODY = 32_768
_BYTES_A_CELL = 128
_SMALLEST_LIMIT = 1_048_576
_UNKNOWN = "(unknown)"
# A graph answers so few rows in less time than it takes to hand them to another thread.
_INLINE_ROWS = 32


class Reply(NamedTuple):
    """An answer: its HTTP status and its JSON body."""

    status: int
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Headers beside those of every answer."""
        return {"Retry-After": "2"} if self.status == 503 else {}


class PredictionDesk:
    """Answers prediction requests.

    Parameters
    ----------
    holders
        The served models by name.
    """

    def __init__(
        self, holders: Mapping[str, ModelHolder], batcher: Batcher, log: PredictionLog, metrics: Metrics
    ) -> None:
        self._holders = holders
        self._batcher = batcher
        self._log = log
        self._metrics = metrics

    async def answer(self, name: str, request_id: str, receive: Receive) -> Reply:
        """Answer one request; every outcome is a JSON body with a status and is counted.

        Parameters
        ----------
        receive
            Gives the request's body (ASGI).
        """
        started = time.perf_counter()
        holder = self._holders.get(name)
        served = holder.current if holder else None
        status, content = 499, {}
        try:
            status, content = 200, await self._predictions(name, holder, served, request_id, receive)
        except ClientDisconnect:
            content = {"detail": "the caller hung up", "request_id": request_id}
        except RequestRefusedError as error:
            status, content = error.status, {"detail": _sentence(error), "request_id": request_id}
        except Exception:  # noqa: BLE001 - the caller gets a 500 in JSON, and the log the reason
            _LOG.exception("event=predict_failed model=%s request_id=%s", name, request_id)
            status = 500
            content = {
                "detail": f"model {name} failed on this request; the log has why",
                "request_id": request_id,
            }
        finally:
            # The finally also counts the request of a caller who went away.
            label, version = (name if holder else _UNKNOWN), (served.version if served else "none")
            self._metrics.requests.labels(label, version, str(status)).inc()
            if holder:
                self._metrics.seconds.labels(label).observe(time.perf_counter() - started)
        return Reply(status, orjson.dumps(content))

    async def _predictions(
        self,
        name: str,
        holder: ModelHolder | None,
        served: ServedModel | None,
        request_id: str,
        receive: Receive,
    ) -> dict[str, Any]:
        if holder is None:
            raise _unknown_model(name, list(self._holders))
        if served is None:
            raise RequestRefusedError(503, not_ready(holder))
        rows = await self._rows(served, receive)
        if served.fast is not None and len(rows) <= _INLINE_ROWS:
            answers = served.predict(rows)
        else:
            answers = await asyncio.wrap_future(self._batcher.submit(served, rows))
        self._log.offer(
            LoggedRequest(
                name,
                served.version,
                request_id,
                datetime.now(UTC),
                served.inputs,
                rows,
                scores=[answer.score for answer in answers],
                labels=[answer.label for answer in answers],
            )
        )
        return {
            "model": name,
            "version": served.version,
            "request_id": request_id,
            "predictions": [_prediction(answer) for answer in answers],
        }

    async def _rows(self, served: ServedModel, receive: Receive) -> list[Row]:
        most = served.spec.serving.max_rows
        body = await _read(receive, max(_SMALLEST_LIMIT, most * len(served.inputs.names) * _BYTES_A_CELL))
        if len(body) <= _SMALL_BODY:
            return parse_rows(body, served.inputs, most)
        return await asyncio.to_thread(parse_rows, body, served.inputs, most)


def _prediction(answer: Answer) -> dict[str, Any]:
    return {"score": answer.score} if answer.label is None else {"score": answer.score, "label": answer.label}


def not_ready(holder: ModelHolder) -> str:
    """Say why a model has no version to answer with."""
    name = holder.spec.name
    if holder.last_error:
        return f"model {name} cannot answer yet: {holder.last_error}"
    return f"model {name} is still being loaded"


async def _read(receive: Receive, limit: int) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise RequestRefusedError(
                413, f"the body is larger than {limit} bytes", "send the rows in several requests"
            )
    return body


def _unknown_model(name: str, served: list[str]) -> RequestRefusedError:
    near = difflib.get_close_matches(name, served, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return RequestRefusedError(
        404, f"no model {name[:60]!r} is served here (served: {', '.join(served)}){hint}"
    )


def _sentence(error: RequestRefusedError) -> str:
    return f"{error.problem}; {error.advice}" if error.advice else error.problem
