"""The fallbacks that need no version of the model: a constant, or a function of the user."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from evermodel.core.errors import PermanentError, SpecError
from evermodel.modeling.scoring.loaded_version import Answer
from evermodel.modeling.scoring.request_rows import Inputs, Row
from evermodel.spec import ModelSpec

FallbackRule = Callable[[Inputs, Sequence[Row]], list[Answer]]


class RuleError(PermanentError):
    """The user's rule failed, or returned something that the task does not allow; the message holds no values."""


def fallback_rule(spec: ModelSpec) -> FallbackRule | None:
    """Return the function that answers without a version, or None; raises `SpecError` for an invalid rule."""
    fallback = spec.serving.fallback
    if fallback.kind == "constant" and fallback.score is not None:
        answer = Answer(fallback.score, fallback.label)
        return lambda inputs, rows: [answer] * len(rows)
    if fallback.kind == "rule" and fallback.rule is not None:
        function = _imported(spec, fallback.rule)
        return lambda inputs, rows: [_by_rule(spec, function, inputs, row) for row in rows]
    return None


def inputs_of(spec: ModelSpec) -> Inputs:
    """Return the features of the spec, for requests while no version is loaded."""
    return Inputs.of(spec, tuple(spec.features.names), frozenset(spec.features.numeric))


def _imported(spec: ModelSpec, path: str) -> Callable[[dict[str, Any]], Any]:
    module, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise SpecError(
            f"model {spec.name}: serving.fallback.rule: the module {module} cannot be imported: {error}",
            "install it, or add its folder to PYTHONPATH, in the environment of `evermodel serve`",
        ) from error
    if not callable(function):
        raise SpecError(
            f"model {spec.name}: serving.fallback.rule: {path} is not a function",
            "set it to `module:function`; the function takes a row as a dict and returns a score",
        )
    return function  # type: ignore[no-any-return]


def _by_rule(spec: ModelSpec, function: Callable[[dict[str, Any]], Any], inputs: Inputs, row: Row) -> Answer:
    values = {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in zip(inputs.names, row, strict=True)
    }
    try:
        found = function(values)
    except Exception as error:
        # The error's text may hold values of the row, which must not be logged.
        raise RuleError(f"the rule raised {type(error).__name__}{_where(error)}") from error
    score, label = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    if (label is None) == (spec.task == "multiclass"):
        wanted = "a pair (score, class)" if spec.task == "multiclass" else "a score"
        raise RuleError(f"the rule of a {spec.task} model must return {wanted}")
    return Answer(_score(spec, score), None if label is None else str(label))


def _score(spec: ModelSpec, found: Any) -> float:
    try:
        score = float(found)
    except (TypeError, ValueError):
        raise RuleError(f"the rule returned a {type(found).__name__} instead of a score") from None
    if not math.isfinite(score) or (not spec.numeric_answers and not 0 <= score <= 1):
        wanted = "a finite number" if spec.numeric_answers else "a probability"
        raise RuleError(f"the rule returned a score that is not {wanted}")
    return score


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f" in {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
