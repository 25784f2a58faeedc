"""The OpenAPI description, made from the signatures of the champions in force."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from evermodel.modeling.scoring.request_rows import LARGEST, LARGEST_ID, LONGEST_ID, SMALLEST_ID, Inputs
from evermodel.serving.protocols.addresses import OPEN_PATHS
from evermodel.serving.schemas import Predictions, ProblemDetails

_REFUSALS = {
    401: "the token is missing or not valid",
    403: "the token lacks the right of this address",
    404: "the model is not served here",
    408: "the body did not arrive in time",
    413: "the body is too large, or holds too many rows",
    415: "the body is compressed",
    422: "the body does not match the model's features; the detail names the row and the feature",
    500: "the model failed on this request, and so did its fallback",
    503: "no version is loaded, or the model is too slow, and there is no fallback",
}
_ID_IS = "the id joins this prediction with its label"
_ID_EXAMPLE = "example-1"
_OF_PREDICTIONS = (404, 408, 413, 415, 422, 500, 503)


@dataclass(frozen=True)
class ModelDescription:
    """The properties of one model that its description shows.

    Parameters
    ----------
    version
        The version of the signature; None for the features of the spec, while no version is loaded.
    example
        A row of the version's example; empty without one.
    """

    inputs: Inputs
    id_column: str
    max_rows: int
    version: str | None
    example: dict[str, Any]


def describe(
    app: FastAPI, models: Iterable[str], described: Callable[[str], ModelDescription], *, protected: bool
) -> None:
    """Add an OpenAPI description to an app, made anew when the versions in force have changed."""
    plain = app.openapi
    names = list(models)
    made: list[Any] = [None, {}]

    def openapi() -> dict[str, Any]:
        found = {name: described(name) for name in names}
        if found == made[0]:
            return made[1]  # type: ignore[no-any-return]
        schema = copy.deepcopy(plain())
        paths = {f"/models/{name}/predict": operation(name, what) for name, what in found.items()}
        if len(names) == 1:
            paths = {"/predict": operation(names[0], found[names[0]], "predict"), **paths}
        schema["paths"] = {**{path: {"post": done} for path, done in paths.items()}, **schema["paths"]}
        _add_components(schema)
        if protected:
            _protect(schema)
        made[:] = found, schema
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def operation(name: str, described: ModelDescription, operation_id: str = "") -> dict[str, Any]:
    """Describe the prediction requests of one model."""
    source = f"version {described.version}" if described.version else "the spec, because no version is loaded"
    content: dict[str, Any] = {"schema": body_schema(described)}
    if described.example:
        content["examples"] = {
            name: {"value": {"rows": [{described.id_column: _ID_EXAMPLE, **described.example}]}}
        }
    answers = {
        "200": {
            "description": "the predictions, and the version or fallback that made them",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Predictions"}}},
        }
    }
    return {
        "tags": ["predictions"],
        "summary": f"Score rows with {name}",
        "description": f"The features are those of {source}. The id of a row is {described.id_column}: {_ID_IS}.",
        "operationId": operation_id or f"predict_{name}",
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": answers | {str(status): _refusal(status) for status in _OF_PREDICTIONS},
    }


def body_schema(described: ModelDescription) -> dict[str, Any]:
    """Return the JSON Schema of a prediction request; exactly what it allows is answered."""
    row = row_schema(described.inputs, described.id_column)
    rows = {"type": "array", "minItems": 1, "maxItems": described.max_rows, "items": row}
    return {
        "oneOf": [
            {
                "type": "object",
                "required": [field],
                "additionalProperties": False,
                "properties": {field: kind},
            }
            for field, kind in (("rows", rows), ("row", row))
        ]
    }


def row_schema(inputs: Inputs, id_column: str) -> dict[str, Any]:
    """Return the JSON Schema of one row; unknown categories are allowed, and null is an unknown value."""
    own_id = {
        "type": ["string", "integer"],
        "description": f"{_ID_IS}; if it is absent, one is made and returned as `id`",
        "examples": [_ID_EXAMPLE],
        **{"minLength": 1, "maxLength": LONGEST_ID, "minimum": SMALLEST_ID, "maximum": LARGEST_ID},
    }
    number = {"type": ["number", "null"], "minimum": -LARGEST, "maximum": LARGEST}
    text = {"type": ["string", "null"]}
    context = {
        "type": ["string", "integer", "boolean", "null"],
        "description": "Logged; the model does not see it.",
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name in inputs.names if name not in inputs.looked_up],
        "properties": {
            id_column: own_id,
            **dict.fromkeys(inputs.context, context),
            **{name: number if name in inputs.numeric else text for name in inputs.names},
        },
    }


def _refusal(status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {"description": _REFUSALS[status], "content": content}


def _add_components(schema: dict[str, Any]) -> None:
    _, found = models_json_schema(
        [(Predictions, "serialization"), (ProblemDetails, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    schema.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])


def _protect(schema: dict[str, Any]) -> None:
    schema["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, methods in schema["paths"].items():
        if path in OPEN_PATHS:
            continue
        for described in methods.values():
            described["security"] = [{"token": []}]
            described["responses"] |= {str(status): _refusal(status) for status in (401, 403)}
