"""Where a prediction request is answered: found, checked, scored, counted and logged."""

from __future__ import annotations

import asyncio
import difflib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from evermodel.modeling.scoring.loaded_version import Answer, ServedModel
from evermodel.modeling.scoring.request_rows import Asked, Inputs, RequestRefusedError, parse_rows
from evermodel.serving.breaker import LogThrottle
from evermodel.serving.fallback import Answered, Fallbacks, without_values
from evermodel.serving.fallback_rules import inputs_of
from evermodel.serving.metrics import Metrics
from evermodel.serving.prediction_writer import LoggedRequest, PredictionLog
from evermodel.serving.reconciler import Reconciler
from evermodel.serving.request_body import read_body
from evermodel.serving.routing_table import Traffic
from evermodel.serving.shadow import Shadows
from evermodel.spec import ModelSpec

_LOG = logging.getLogger(__package__)
_ACCESS = logging.getLogger("evermodel.access")
_SMALL_BODY = 32_768
_BYTES_A_CELL = 128
_SMALLEST_LIMIT = 1_048_576
_UNKNOWN = "(unknown)"


class Reply(NamedTuple):
    """An answer: its HTTP status and its JSON body."""

    status: int
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Headers beside those of every answer."""
        if self.status == 503:
            return {"Retry-After": "2"}
        return {"Connection": "close"} if self.status == 408 else {}


class PredictionService:
    """Answers prediction requests.

    Parameters
    ----------
    holders
        The served models by name.
    fallbacks
        Asks versions, and falls back.
    shadows
        Takes what a shadow is to answer, too.
    access_log
        Whether each request is a line of the program's log.
    """

    def __init__(
        self,
        holders: Mapping[str, Reconciler],
        fallbacks: Fallbacks,
        log: PredictionLog,
        metrics: Metrics,
        shadows: Shadows | None = None,
        *,
        access_log: bool = False,
    ) -> None:
        self._holders = holders
        self._fallbacks = fallbacks
        self._log = log
        # Looking up a counter by its labels costs more than counting; there are only so many labels.
        self._requests = cache(metrics.requests.labels)
        self._seconds = cache(metrics.seconds.labels)
        self._version_seconds = cache(metrics.traffic.seconds.labels)
        self._shadows = shadows
        self._access_log = access_log
        self._seldom = LogThrottle()

    async def answer(self, name: str, scope: Scope, receive: Receive) -> Reply:
        """Answer one request; every outcome is a JSON body with a status and is counted.

        Parameters
        ----------
        scope, receive
            The request (ASGI); it has its id already.
        """
        started = time.perf_counter()
        request_id: str = scope["state"]["request_id"]
        holder = self._holders.get(name)
        traffic = holder.traffic if holder else None
        served = traffic.route(scope) if traffic else None
        course = _Course(traffic, served, served.version if served else "none")
        status, content = 499, {}
        try:
            if holder is None:
                raise _unknown_model(name, list(self._holders))
            answered = await self._answered(holder, course, scope, receive)
            course.version, course.rows = answered.version, len(answered.rows)
            self._log.offer(_logged(name, request_id, answered))
            if self._shadows is not None and traffic is not None and traffic.shadows(scope):
                self._shadows.offer(traffic, request_id, answered)
            status, content = 200, _content(name, request_id, answered)
        except ClientDisconnect:
            content = {"detail": "the caller hung up", "request_id": request_id}
        except RequestRefusedError as error:
            status, content = error.status, {"detail": _sentence(error), "request_id": request_id}
        except Exception as error:  # noqa: BLE001 - the caller gets a 500 in JSON, and the log the reason
            self._tell(name, course.version, request_id, error)
            status = 500
            content = {
                "detail": f"model {name} failed on this request; the log has why",
                "request_id": request_id,
            }
        finally:
            # The finally also counts the request of a caller who went away.
            self._count(name if holder else _UNKNOWN, course, status, started, request_id)
        return Reply(status, orjson.dumps(content))

    def _count(self, model: str, course: _Course, status: int, started: float, request_id: str) -> None:
        now = time.perf_counter()
        self._requests(model, course.version, str(status)).inc()
        if model != _UNKNOWN:
            self._seconds(model).observe(now - started)
        if course.traffic is not None and course.routed is not None:
            if course.began and not 400 <= status < 500:
                version, seconds = course.routed.version, now - course.began
                course.traffic.tally.answered(version, seconds, failed=course.failed or status >= 500)
                self._version_seconds(model, version).observe(seconds)
            else:  # what the caller did wrong says nothing about a version
                course.traffic.give_back(course.routed)
        if self._access_log:
            _ACCESS.info(
                "event=request model=%s version=%s status=%d ms=%.1f rows=%d request_id=%s",
                *(model, course.version, status, 1000 * (now - started), course.rows, request_id),
            )

    async def _answered(
        self, holder: Reconciler, course: _Course, scope: Scope, receive: Receive
    ) -> Answered:
        spec, routed, traffic = holder.spec, course.routed, course.traffic
        request_id: str = scope["state"]["request_id"]
        if traffic is not None and routed is not None:
            body = await self._body(spec, routed.inputs, scope, receive)
            course.began = time.perf_counter()
            served, asked = await self._taken(spec, routed, traffic.champion, body)
            answered = await self._fallbacks.answer(served, asked.rows, traffic.stand_in(served))
            course.failed = served is not routed or answered.fallback is not None
            return answered._replace(ids=asked.ids(request_id))
        if not self._fallbacks.stands_alone(holder.spec.name):
            raise RequestRefusedError(503, not_ready(holder))
        inputs = inputs_of(spec)
        asked = await self._asked(spec, inputs, await self._body(spec, inputs, scope, receive))
        answered = await self._fallbacks.alone(spec.name, asked.rows)
        return answered._replace(ids=asked.ids(request_id))

    async def _body(self, spec: ModelSpec, inputs: Inputs, scope: Scope, receive: Receive) -> bytes:
        limit = max(_SMALLEST_LIMIT, spec.serving.max_rows * (len(inputs.names) + 1) * _BYTES_A_CELL)
        return await read_body(scope, receive, limit)

    async def _taken(
        self, spec: ModelSpec, routed: ServedModel, champion: ServedModel, body: bytes
    ) -> tuple[ServedModel, Asked]:
        """Return who takes the request, and its rows: what only the challenger refuses is the champion's."""
        try:
            return routed, await self._asked(spec, routed.inputs, body)
        except RequestRefusedError as refused:
            if routed.inputs == champion.inputs:
                raise
            try:
                return champion, await self._asked(spec, champion.inputs, body)
            except RequestRefusedError:
                raise refused from None

    async def _asked(self, spec: ModelSpec, inputs: Inputs, body: bytes) -> Asked:
        most = spec.serving.max_rows
        if len(body) <= _SMALL_BODY:
            return parse_rows(body, inputs, most, spec.id_column)
        return await asyncio.to_thread(parse_rows, body, inputs, most, spec.id_column)

    def _tell(self, name: str, version: str, request_id: str, error: Exception) -> None:
        """Write why a request failed: at once, and then once a minute for each kind of failure."""
        times = self._seldom.times((name, version, type(error)))
        if times:
            _LOG.error(
                'event=predict_failed model=%s version=%s request_id=%s times=%d error="%s"',
                *(name, version, request_id, times, without_values(error)),
            )


@dataclass(slots=True)
class _Course:
    """What became of a request, as far as it got.

    Parameters
    ----------
    routed
        The version that the router chose; ``version`` is what answered.
    began
        When the whole request was there; 0 before.
    failed
        The routed version did not answer, but something else did.
    """

    traffic: Traffic | None
    routed: ServedModel | None
    version: str
    began: float = 0.0
    failed: bool = False
    rows: int = 0


def _logged(name: str, request_id: str, answered: Answered) -> LoggedRequest:
    return LoggedRequest(
        name,
        answered.version,
        request_id,
        datetime.now(UTC),
        answered.inputs,
        answered.rows,
        answered.ids,
        scores=[answer.score for answer in answered.answers],
        labels=[answer.label for answer in answered.answers],
    )


def _content(name: str, request_id: str, answered: Answered) -> dict[str, Any]:
    content = {
        "model": name,
        "version": answered.version,
        "request_id": request_id,
        "predictions": list(map(_prediction, answered.ids, answered.answers)),
    }
    if answered.fallback is not None:
        content["fallback"] = answered.fallback
    return content


def _prediction(row_id: str, answer: Answer) -> dict[str, Any]:
    if answer.label is None:
        return {"id": row_id, "score": answer.score}
    return {"id": row_id, "score": answer.score, "label": answer.label}


def not_ready(holder: Reconciler) -> str:
    """Say why a model has no version to answer with."""
    name = holder.spec.name
    if holder.last_error:
        return f"model {name} cannot answer yet: {holder.last_error}"
    return f"model {name} is still being loaded"


def _unknown_model(name: str, served: list[str]) -> RequestRefusedError:
    near = difflib.get_close_matches(name, served, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return RequestRefusedError(
        404, f"no model {name[:60]!r} is served here (served: {', '.join(served)}){hint}"
    )


def _sentence(error: RequestRefusedError) -> str:
    return f"{error.problem}; {error.advice}" if error.advice else error.problem
