"""The contract of `evermodel step`: the JSON that a step of a pipeline is given, and the JSON that it answers with.

It is small and versioned, because the two sides may be two installations: a thin Airflow worker, and an interpreter or an
image with the libraries of the training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from evermodel.core import errors
from evermodel.core.errors import EvermodelError, PermanentError, StepContractError, StepCrashedError

CONTRACT = 1
_FACTS = ("failed",)  # what errors carry beside problem and advice


@dataclass(frozen=True)
class StepRequest:
    """What a step is asked to do.

    Parameters
    ----------
    model
        Name of a model spec, or path of its YAML file.
    as_of
        Moment as of which the step works, ISO 8601.
    run_key, reason
        Idempotency key and reason of the retrain; empty for steps of other pipelines.
    inputs
        What the step needs beside: results of earlier steps, names, windows.
    """

    model: str
    as_of: str = ""
    run_key: str = ""
    reason: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def dumps(self) -> str:
        """Return the request as JSON.

        >>> StepRequest("flights", "2013-03-11").dumps()
        '{"contract": 1, "model": "flights", "as_of": "2013-03-11", "run_key": "", "reason": "", "inputs": {}}'
        """
        return json.dumps({"contract": CONTRACT, **asdict(self)})

    @classmethod
    def loads(cls, text: str) -> StepRequest:
        """Read a request.

        Raises
        ------
        StepContractError
            It is no request of a contract that this release knows.
        """
        data = _read(text, "the request")
        fields = set(cls.__dataclass_fields__)
        if unknown := sorted(data.keys() - fields - {"contract"}):
            raise StepContractError(
                f"the request has unknown fields: {', '.join(unknown)}", f"use {', '.join(sorted(fields))}"
            )
        texts = {name: data.get(name, "") for name in fields - {"inputs"}}
        inputs = data.get("inputs", {})
        if not all(isinstance(value, str) for value in texts.values()) or not isinstance(inputs, dict):
            raise StepContractError(
                "the request's `inputs` is no object, or another field is no text", "correct the request"
            )
        if not texts["model"]:
            raise StepContractError("the request names no model", "set `model`")
        return cls(**texts, inputs=inputs)


@dataclass(frozen=True)
class StepAnswer:
    """How a step ended: with a result, or with an error.

    Parameters
    ----------
    evermodel
        Release that did the work.
    """

    step: str
    evermodel: str
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None

    def dumps(self) -> str:
        """Return the answer as JSON, on one line."""
        ending = {"result": self.result} if self.error is None else {"error": self.error}
        return json.dumps({"contract": CONTRACT, "step": self.step, "evermodel": self.evermodel, **ending})

    @classmethod
    def loads(cls, text: str) -> StepAnswer:
        """Read an answer.

        Raises
        ------
        StepContractError
            It is no answer of a contract that this release knows.
        """
        data = _read(text, "the answer")
        result, error = data.get("result"), data.get("error")
        if isinstance(result, dict) == isinstance(error, dict):
            raise StepContractError("the answer has neither a result nor an error", "look at the log above")
        return cls(str(data.get("step", "")), str(data.get("evermodel", "")), result, error)

    def value(self) -> dict[str, Any]:
        """Return the result, or raise the error that the step ended with: same class, problem and advice."""
        if self.error is not None:
            raise error_from_json(self.step, self.error)
        return dict(self.result or {})


def error_to_json(error: Exception) -> dict[str, Any]:
    """Return an error as plain data: its classes from the most special one on, problem, advice, whether a retry may help."""
    told = (
        error if isinstance(error, EvermodelError) else StepCrashedError(f"{type(error).__name__}: {error}")
    )
    return {
        "types": [kind.__name__ for kind in type(error).__mro__ if issubclass(kind, Exception)],
        "problem": told.problem,
        "advice": told.advice,
        "permanent": isinstance(error, PermanentError),
        "facts": {name: getattr(error, name) for name in _FACTS if hasattr(error, name)},
    }


def error_from_json(step: str, data: Mapping[str, Any]) -> EvermodelError:
    """Return the error that `error_to_json` wrote, of the most special class that this release has."""
    problem, advice = str(data.get("problem", "")), str(data.get("advice", ""))
    for name in data.get("types", ()):
        kind = getattr(errors, str(name), None)
        if isinstance(kind, type) and issubclass(kind, EvermodelError) and kind is not EvermodelError:
            error = kind(problem, advice)
            vars(error).update({k: v for k, v in dict(data.get("facts", {})).items() if k in _FACTS})
            return error
    return StepCrashedError(f"the step {step} failed: {problem}", advice)


def _read(text: str, what: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise StepContractError(f"{what} is no JSON ({error})", "pass one JSON object") from None
    if not isinstance(data, dict):
        raise StepContractError(f"{what} is no JSON object", "pass one JSON object")
    if data.get("contract") != CONTRACT:
        raise StepContractError(
            f"{what} follows contract {data.get('contract')!r}, and this release knows contract {CONTRACT}",
            "install the same release of evermodel on both sides",
        )
    return data
