"""The prediction service: a request is routed, checked, scored, counted and logged."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from evermodel.core.errors import FeatureStoreError
from evermodel.modeling.scoring.answer_details import details_of
from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.modeling.scoring.request_json import PIECE, RequestRefusedError
from evermodel.modeling.scoring.request_rows import Inputs, ParsedRows, nearest
from evermodel.serving.breaker import LogThrottle
from evermodel.serving.fallback import Answered, Fallbacks, without_values
from evermodel.serving.fallback_rules import inputs_of
from evermodel.serving.metrics import Metrics, RequestMetrics
from evermodel.serving.online_features import OnlineFeatures, without_looked_up
from evermodel.serving.prediction_writer import LoggedRequest, PredictionLog
from evermodel.serving.protocols.addresses import PredictionTarget
from evermodel.serving.protocols.codec import Codec, Content
from evermodel.serving.reconciler import Reconciler
from evermodel.serving.request_body import ARRIVED, read_body
from evermodel.serving.routing_table import Traffic
from evermodel.serving.shadow import Shadows
from evermodel.serving.slow_work import SlowWork
from evermodel.spec import ModelSpec

_LOG = logging.getLogger(__package__)
_ACCESS = logging.getLogger("evermodel.access")
_BYTES_A_CELL = 128
_SMALLEST_LIMIT = 1_048_576
_UNKNOWN = "(unknown)"


class Reply(NamedTuple):
    """An answer: its HTTP status, its body, and the headers beside those of every answer."""

    status: int
    content: Content

    @property
    def headers(self) -> dict[str, str]:
        """All headers but the length."""
        headers = {"content-type": self.content.content_type, **self.content.headers}
        if self.status == 503:
            headers["retry-after"] = "2"
        elif self.status == 408:
            headers["connection"] = "close"
        return headers


class PredictionService:
    """Answers prediction requests."""

    def __init__(
        self,
        reconcilers: Mapping[str, Reconciler],
        fallbacks: Fallbacks,
        lookups: OnlineFeatures,
        log: PredictionLog,
        metrics: Metrics,
        shadows: Shadows | None = None,
        *,
        access_log: bool = False,
    ) -> None:
        self._reconcilers = reconcilers
        self._fallbacks = fallbacks
        self._lookups = lookups
        self._log = log
        self._metrics = RequestMetrics(metrics)
        self._shadows = shadows
        self._access_log = access_log
        self._throttle = LogThrottle()
        self._large_bodies, self._details = SlowWork("large-bodies"), SlowWork("details")

    async def answer(self, prediction: PredictionTarget, scope: Scope, receive: Receive) -> Reply:
        """Answer one request in the form of its protocol; every outcome has a status and is counted."""
        name, codec = prediction.model, prediction.codec
        started = scope["state"].get(ARRIVED) or time.perf_counter()
        request_id: str = scope["state"]["request_id"]
        reconciler = self._reconcilers.get(name)
        traffic = reconciler.traffic if reconciler else None
        served = traffic.route(scope) if traffic else None
        outcome = _RequestOutcome(traffic, served, served.version if served else "none")
        status, content, detail = 499, None, "the caller closed the connection"
        try:
            if reconciler is None:
                raise _unknown_model(name, list(self._reconcilers))
            answered = await self._answered(reconciler, prediction, outcome, scope, receive)
            outcome.version, outcome.rows = answered.version, len(answered.rows)
            caller = scope["state"].get("caller")
            logged_id = f"{caller}/{request_id}" if caller else request_id
            subject = traffic.subject_hash(scope) if traffic is not None else None
            self._log.offer(_logged(name, logged_id, answered, subject))
            if self._shadows is not None and traffic is not None and traffic.shadows(scope):
                self._shadows.offer(traffic, logged_id, answered)
            status, content = 200, codec.answer(name, request_id, answered)
        except ClientDisconnect:
            pass
        except RequestRefusedError as error:
            status, detail = error.status, _sentence(error)
        except Exception as error:  # noqa: BLE001 - the caller gets a 500 in JSON, the log the error
            self._log_failure(name, outcome.version, request_id, error)
            status = 500
            detail = f"model {name} failed on this request; see the server's log for the error"
        finally:
            # Also for a caller who closed the connection.
            self._count(name if reconciler else _UNKNOWN, outcome, status, started, request_id)
        return Reply(status, content or Content(codec.refusal(status, detail, request_id)))

    def _count(
        self, model: str, outcome: _RequestOutcome, status: int, started: float, request_id: str
    ) -> None:
        now, metrics = time.perf_counter(), self._metrics
        metrics.requests(model, outcome.version, str(status)).inc()
        if model != _UNKNOWN:
            metrics.seconds(model).observe(now - started)
        if outcome.traffic is not None and outcome.routed is not None:
            if outcome.received_at and not 400 <= status < 500:
                version, seconds = outcome.routed.version, now - outcome.received_at
                outcome.traffic.counters.answered(version, seconds, failed=outcome.failed or status >= 500)
                metrics.version_seconds(model, version).observe(seconds)
            else:  # an error of the caller is no evidence about a version
                outcome.traffic.give_back(outcome.routed)
        if self._access_log:
            _ACCESS.info(
                "event=request model=%s version=%s status=%d ms=%.1f rows=%d request_id=%s",
                *(model, outcome.version, status, 1000 * (now - started), outcome.rows, request_id),
            )

    async def _answered(
        self,
        reconciler: Reconciler,
        prediction: PredictionTarget,
        outcome: _RequestOutcome,
        scope: Scope,
        receive: Receive,
    ) -> Answered:
        spec, routed, traffic = reconciler.spec, outcome.routed, outcome.traffic
        codec = prediction.codec
        request_id: str = scope["state"]["request_id"]
        if traffic is not None and routed is not None:
            body = await self._body(spec, routed.inputs, scope, receive)
            outcome.received_at = time.perf_counter()
            served, parsed = await self._accepted(spec, codec, routed, traffic.champion, body)
            if served.inputs.looked_up:
                try:
                    parsed = await self._lookups.filled(spec.name, served.inputs, parsed)
                except FeatureStoreError as error:
                    parsed = without_looked_up(served.inputs, parsed)
                    answered = await self._fallbacks.without_features(served, parsed.rows, error)
                    return _completed(spec, answered, parsed, request_id)
            answered = await self._fallbacks.answer(served, parsed.rows, traffic.stand_in(served))
            outcome.failed = served is not routed or answered.fallback is not None
            if prediction.asked and answered.fallback is None:
                details = await self._details.do(lambda: details_of(served, parsed.rows, prediction.asked))
                answered = answered._replace(details=details)
            return _completed(spec, answered, parsed, request_id)
        if not self._fallbacks.needs_no_version(spec.name):
            raise RequestRefusedError(503, not_ready(reconciler))
        inputs = inputs_of(spec)
        body = await self._body(spec, inputs, scope, receive)
        parsed = await self._parsed(spec, codec, inputs, body)
        parsed = without_looked_up(inputs, parsed)
        answered = await self._fallbacks.alone(spec.name, parsed.rows)
        return _completed(spec, answered, parsed, request_id)

    async def _body(self, spec: ModelSpec, inputs: Inputs, scope: Scope, receive: Receive) -> bytes:
        limit = max(_SMALLEST_LIMIT, spec.serving.max_rows * (len(inputs.known) + 1) * _BYTES_A_CELL)
        return await read_body(scope, receive, limit)

    async def _accepted(
        self, spec: ModelSpec, codec: Codec, routed: ServedModel, champion: ServedModel, body: bytes
    ) -> tuple[ServedModel, ParsedRows]:
        """Return the version that answers, and the rows: the champion answers what only the challenger refuses."""
        try:
            return routed, await self._parsed(spec, codec, routed.inputs, body)
        except RequestRefusedError as refused:
            if routed.inputs == champion.inputs:
                raise
            try:
                return champion, await self._parsed(spec, codec, champion.inputs, body)
            except RequestRefusedError:
                raise refused from None

    async def _parsed(self, spec: ModelSpec, codec: Codec, inputs: Inputs, body: bytes) -> ParsedRows:
        most = spec.serving.max_rows
        if len(body) <= PIECE:
            return codec.parse(body, inputs, most, spec.id_column)
        return await self._large_bodies.do(lambda: codec.parse(body, inputs, most, spec.id_column))

    def _log_failure(self, name: str, version: str, request_id: str, error: Exception) -> None:
        times = self._throttle.times((name, version, type(error)))
        if times:
            _LOG.error(
                'event=predict_failed model=%s version=%s request_id=%s times=%d error="%s"',
                *(name, version, request_id, times, without_values(error)),
            )


def _completed(spec: ModelSpec, answered: Answered, parsed: ParsedRows, request_id: str) -> Answered:
    """Add ids and context; of a ranking, the place of each row in its list, which is the request where no row names one."""
    ids = parsed.ids(request_id)
    if spec.group_column is None:
        return answered._replace(ids=ids, context=parsed.context)
    place = spec.context.index(spec.group_column)
    context = [(*row[:place], row[place] or request_id, *row[place + 1 :]) for row in parsed.context]
    answers, seen = list(answered.answers), Counter[str]()
    for row in sorted(range(len(answers)), key=lambda row: -answers[row].score):
        group = str(context[row][place])
        seen[group] += 1
        answers[row] = answers[row]._replace(rank=seen[group])
    return answered._replace(answers=answers, ids=ids, context=context)


@dataclass(slots=True)
class _RequestOutcome:
    """The outcome of a request, filled in step by step.

    Parameters
    ----------
    routed
        The version that the router chose; ``version`` is the one that answered.
    received_at
        When the whole request had arrived; 0 before.
    failed
        Another version or a fallback answered in place of the routed version.
    """

    traffic: Traffic | None
    routed: ServedModel | None
    version: str
    received_at: float = 0.0
    failed: bool = False
    rows: int = 0


def _logged(name: str, request_id: str, answered: Answered, subject: str | None) -> LoggedRequest:
    return LoggedRequest(
        name,
        answered.version,
        request_id,
        datetime.now(UTC),
        answered.inputs,
        answered.rows,
        answered.ids,
        scores=[answer.score for answer in answered.answers],
        labels=[answer.predicted for answer in answered.answers],
        context=answered.context,
        subject_hash=subject,
    )


def not_ready(reconciler: Reconciler) -> str:
    """Return why a model has no loaded version."""
    name = reconciler.spec.name
    if reconciler.status.last_error:
        return f"model {name} is not loaded: {reconciler.status.last_error}"
    return f"model {name} is loading"


def _unknown_model(name: str, served: list[str]) -> RequestRefusedError:
    near = nearest(name, served)
    hint = f"; did you mean {near}?" if near else ""
    return RequestRefusedError(
        404, f"no model {name[:60]!r} is served here (served: {', '.join(served)}){hint}"
    )


def _sentence(error: RequestRefusedError) -> str:
    return f"{error.problem}; {error.advice}" if error.advice else error.problem
