"""Answers requests with a version, or with the fallback of the spec when the version fails or is too slow."""

from __future__ import annotations

import asyncio
import logging
import traceback
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

from evermodel.core.errors import EvermodelError, FeatureStoreError, ModelFormatError
from evermodel.modeling.scoring.batcher import Batcher
from evermodel.modeling.scoring.loaded_version import Answer, ServedModel
from evermodel.modeling.scoring.request_json import RequestRefusedError
from evermodel.modeling.scoring.request_rows import Context, Inputs, Row
from evermodel.serving.breaker import Breaker, LogThrottle
from evermodel.serving.fallback_rules import FallbackRule, fallback_rule, inputs_of
from evermodel.serving.metrics import Metrics
from evermodel.spec import ModelSpec

Reason = Literal["error", "nonsense", "timeout", "breaker", "not_loaded", "features"]

_LOG = logging.getLogger(__package__)
# A graph answers up to this many rows in less time than a hand-over to another thread takes.
INLINE_ROWS = 32
_RULE_SECONDS = 5.0


class Answered(NamedTuple):
    """The answers of one request, and where they come from.

    Parameters
    ----------
    version
        A version of the model, or ``constant`` or ``rule``.
    inputs, rows
        The features and their values, as that version takes them.
    fallback
        The fallback that answered; None when the model did.
    ids
        Joins each row with its label; added by the prediction service, as the context is.
    context
        Values of the rows' columns of the spec's `context`; see `Inputs.context`.
    details
        What the request asked for beside the answers, by row.
    """

    answers: list[Answer]
    version: str
    inputs: Inputs
    rows: list[Row]
    fallback: Literal["previous", "constant", "rule"] | None = None
    ids: Sequence[str] = ()
    context: Sequence[Context] = ()
    details: Sequence[Mapping[str, Any]] = ()


class Fallbacks:
    """Answers requests with versions, and with the fallbacks of the specs.

    A version with a time limit has a thread of its own, so that one that hangs delays no other.

    Raises
    ------
    SpecError
        A rule cannot be imported.
    """

    def __init__(self, specs: Mapping[str, ModelSpec], metrics: Metrics) -> None:
        self._specs = specs
        self._batcher = Batcher()
        self._metrics = metrics
        self._rules: dict[str, FallbackRule | None] = {
            name: fallback_rule(spec) for name, spec in specs.items()
        }
        self._breakers: WeakKeyDictionary[ServedModel, Breaker] = WeakKeyDictionary()
        self._timed_batchers: WeakKeyDictionary[ServedModel, Batcher] = WeakKeyDictionary()
        self._throttle = LogThrottle()

    def start(self) -> None:
        """Start the thread that scores without a time limit."""
        self._batcher.start()

    def stop(self) -> None:
        """Stop the threads."""
        self._batcher.stop()
        for batcher in self._timed_batchers.values():
            batcher.stop(1.0)

    def needs_no_version(self, model: str) -> bool:
        """Tell whether the model's fallback can answer while no version is loaded."""
        return self._rules[model] is not None

    def breaker_open(self, served: ServedModel) -> bool:
        """Tell whether a version gets no requests at the moment, because it failed repeatedly."""
        breaker = self._breakers.get(served)
        return breaker is not None and breaker.open

    async def answer(
        self, served: ServedModel, rows: list[Row], earlier: ServedModel | None = None
    ) -> Answered:
        """Answer the rows of one request, which were checked against ``served``.

        Parameters
        ----------
        earlier
            The fallback where the spec declares the previous version.

        Raises
        ------
        RequestRefusedError
            The version is too slow and there is no fallback (503).
        Exception
            The error of the version, when there is no fallback.
        """
        fallback = self._specs[served.name].serving.fallback
        if fallback.kind == "none" and fallback.timeout_ms is None:
            return Answered(await self._ask(served, rows, None), served.version, served.inputs, rows)
        breaker = self._breakers.get(served)
        if breaker is None:
            breaker = self._breakers[served] = Breaker()
        if fallback.kind != "none" and not breaker.lets_through():
            return await self._instead(served, rows, earlier, "breaker", None)
        try:
            answers = await self._ask(served, rows, fallback.timeout_ms)
        except Exception as error:  # noqa: BLE001 - any error of the model leads to the fallback
            if breaker.failed() and fallback.kind != "none":
                self._opened(served)
            return await self._instead(served, rows, earlier, _reason(error), error)
        if breaker.answered() and fallback.kind != "none":
            self._metrics.breaker.labels(served.name, served.version).set(0)
            _LOG.info("event=breaker_closed model=%s version=%s", served.name, served.version)
        return Answered(answers, served.version, served.inputs, rows)

    async def alone(self, model: str, rows: list[Row]) -> Answered:
        """Answer rows, checked against the spec's features, while no version is loaded."""
        return await self._by_rule(self._specs[model], inputs_of(self._specs[model]), rows, "not_loaded")

    async def without_features(
        self, served: ServedModel, rows: list[Row], error: FeatureStoreError
    ) -> Answered:
        """Answer rows that lack what could not be looked up, by a constant or a rule.

        Raises
        ------
        RequestRefusedError
            The spec has neither (503).
        """
        if not self.needs_no_version(served.name):
            raise RequestRefusedError(
                503, error.problem, "send the features with the request, or repeat it later"
            ) from error
        self._log_fallback(served, "features", error)
        return await self._by_rule(self._specs[served.name], served.inputs, rows, "features")

    async def _ask(self, served: ServedModel, rows: list[Row], timeout_ms: float | None) -> list[Answer]:
        if timeout_ms is not None:
            scores = asyncio.wrap_future(self._timed_batcher(served).submit(served, rows))
            return await asyncio.wait_for(scores, timeout_ms / 1000)
        if served.fast is not None and len(rows) <= INLINE_ROWS:
            return served.predict(rows)
        return await asyncio.wrap_future(self._batcher.submit(served, rows))

    def _timed_batcher(self, served: ServedModel) -> Batcher:
        batcher = self._timed_batchers.get(served)
        if batcher is None:
            batcher = self._timed_batchers[served] = Batcher()
            batcher.start()
            weakref.finalize(served, batcher.stop, 0.0).atexit = False  # the thread ends with its version
        return batcher

    async def _instead(
        self,
        served: ServedModel,
        rows: list[Row],
        earlier: ServedModel | None,
        reason: Reason,
        error: Exception | None,
    ) -> Answered:
        spec = self._specs[served.name]
        kind = spec.serving.fallback.kind
        if kind == "none" and error is not None:
            if reason == "timeout":
                raise _too_slow(spec) from None
            raise error
        self._log_fallback(served, reason, error)
        if kind != "previous":
            return await self._by_rule(spec, served.inputs, rows, reason)
        if earlier is None or earlier is served:
            problem = f"model {served.name}: version {served.version} failed ({reason}), and no previous version is loaded"
            raise RequestRefusedError(503, problem) from error
        theirs = reordered(served.inputs, rows, earlier.inputs)
        try:
            answers = await self._ask(earlier, theirs, spec.serving.fallback.timeout_ms)
        except TimeoutError:
            raise _too_slow(spec) from None
        self._metrics.fallbacks.labels(served.name, "previous", reason).inc()
        return Answered(answers, earlier.version, earlier.inputs, theirs, "previous")

    async def _by_rule(self, spec: ModelSpec, inputs: Inputs, rows: list[Row], reason: Reason) -> Answered:
        function, kind = self._rules[spec.name], spec.serving.fallback.kind
        if function is None or kind not in ("constant", "rule"):
            raise RuntimeError(f"model {spec.name} has no fallback without a version")
        if kind == "constant":
            answers = function(inputs, rows)
        else:
            answers = await asyncio.wait_for(asyncio.to_thread(function, inputs, rows), _RULE_SECONDS)
        self._metrics.fallbacks.labels(spec.name, kind, reason).inc()
        return Answered(answers, kind, inputs, rows, kind)

    def _opened(self, served: ServedModel) -> None:
        gauge = self._metrics.breaker.labels(served.name, served.version)
        gauge.set(1)
        weakref.finalize(served, gauge.set, 0).atexit = False  # a version that is gone has no breaker
        _LOG.warning("event=breaker_opened model=%s version=%s", served.name, served.version)

    def _log_fallback(self, served: ServedModel, reason: Reason, error: Exception | None) -> None:
        times = self._throttle.times((served.name, served.version, reason, type(error)))
        if times:
            _LOG.warning(
                'event=fallback_answers model=%s version=%s fallback=%s reason=%s times=%d error="%s"',
                *(served.name, served.version, self._specs[served.name].serving.fallback.kind),
                *(reason, times, "" if error is None else without_values(error)),
            )


def without_values(error: BaseException) -> str:
    """Describe an error without its text, which may hold values of the request; evermodel's own errors hold none."""
    if isinstance(error, EvermodelError):
        return error.problem
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"


def _reason(error: Exception) -> Reason:
    if isinstance(error, TimeoutError):
        return "timeout"
    return "nonsense" if isinstance(error, ModelFormatError) else "error"


def _too_slow(spec: ModelSpec) -> RequestRefusedError:
    return RequestRefusedError(
        503, f"model {spec.name} exceeded its time limit of {spec.serving.fallback.timeout_ms:g} ms"
    )


def reordered(ours: Inputs, rows: list[Row], theirs: Inputs) -> list[Row]:
    """Return the rows with the features in the order of another version.

    Raises
    ------
    ModelFormatError
        That version needs a feature that the rows do not have.
    """
    if ours == theirs:
        return rows
    missing = [
        name
        for name in theirs.names
        if name not in ours.names or (name in theirs.numeric) != (name in ours.numeric)
    ]
    if missing:
        raise ModelFormatError(
            f"the other version needs {', '.join(missing)}, which the request does not have",
            "set serving.fallback to a constant or a rule",
        )
    places = [ours.names.index(name) for name in theirs.names]
    return [tuple(row[place] for place in places) for row in rows]
