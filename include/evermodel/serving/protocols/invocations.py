"""The protocol of MLflow's scoring server: ``POST /invocations``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from evermodel.core.errors import SpecError
from evermodel.modeling.scoring.loaded_version import Answer
from evermodel.modeling.scoring.request_columns import parse_columns
from evermodel.modeling.scoring.request_json import RequestRefusedError, decode_whole
from evermodel.modeling.scoring.request_rows import Inputs, ParsedRows, check_count, parse_rows
from evermodel.serving.fallback import Answered
from evermodel.serving.protocols.codec import Content

INVOCATIONS = "EVERMODEL_SERVING_INVOCATIONS"
NOT_SET = (
    f"this app serves several models, and none is set for /invocations; set {INVOCATIONS}=<model>, or use "
    "/models/<model>/predict"
)
_KEYS = ("dataframe_split", "dataframe_records", "inputs", "instances")
_RECORDS = re.compile(rb'\s*\{\s*"(dataframe_records|instances)"\s*:\s*\[\s*\{')
_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}
_SEND = f"send one of {', '.join(_KEYS)}, or the rows in several requests"


def model_of_invocations(models: Sequence[str], environ: Mapping[str, str] | None = None) -> str | None:
    """Return the model that answers at ``/invocations``: the one that is set, or the only one; None without either.

    Raises
    ------
    SpecError
        ``EVERMODEL_SERVING_INVOCATIONS`` names a model that is not served.
    """
    wanted = (os.environ if environ is None else environ).get(INVOCATIONS, "").strip()
    if not wanted:
        return models[0] if len(models) == 1 else None
    if wanted not in models:
        raise SpecError(f"{INVOCATIONS}={wanted} is not served", f"set it to one of {', '.join(models)}")
    return wanted


class InvocationsCodec:
    """Reads the four forms of MLflow's JSON, and answers with ``predictions``: scores, or records with a class or decision."""

    def parse(self, body: bytes, inputs: Inputs, max_rows: int, id_column: str) -> ParsedRows:
        """Return the rows of a request's body.

        Records are read row by row; the other forms at once (see `decode_whole`). NaN, which MLflow's client sends for a
        missing value, is one.
        """
        records = _RECORDS.match(body)
        if records:
            try:
                return parse_rows(body, inputs, max_rows, id_column, str(records[1], "ascii"))
            except RequestRefusedError as error:
                if error.status != 422 or not (b"NaN" in body or b"params" in body):
                    raise
        kind, data = _payload(decode_whole(body, _SEND, loose=True))
        columns, rows = _split(data, max_rows) if kind == "dataframe_split" else _columns(kind, data)
        check_count(rows, max_rows)
        known = {name: list(map(_without_nan, values)) for name, values in columns.items()}
        return parse_columns(known, rows, inputs, id_column)

    def answer(self, model: str, request_id: str, answered: Answered) -> Content:
        """Return the answer to the request."""
        content = {
            "predictions": list(map(_prediction, answered.answers)),
            "ids": answered.ids,
            "model": model,
            "version": answered.version,
            "request_id": request_id,
        }
        if answered.fallback is not None:
            content["fallback"] = answered.fallback
        return Content(orjson.dumps(content))

    def refusal(self, status: int, detail: str, request_id: str) -> bytes:
        """Return the JSON of an error, in MLflow's form."""
        code = _CODES.get(status, "INVALID_PARAMETER_VALUE")
        return orjson.dumps({"error_code": code, "message": detail, "request_id": request_id})


def _prediction(answer: Answer) -> Any:
    if answer.label is not None:
        return {"score": answer.score, "label": answer.label}
    return answer.score if answer.decision is None else {"score": answer.score, "decision": answer.decision}


def _payload(request: dict[str, Any]) -> tuple[str, Any]:
    if request.pop("params", None):
        raise RequestRefusedError(422, "params: the model takes none", "omit them")
    if len(request) != 1 or (kind := next(iter(request))) not in _KEYS:
        raise RequestRefusedError(422, "the body must have one of the fields " + ", ".join(_KEYS))
    return kind, request[kind]


def _split(data: object, max_rows: int) -> tuple[dict[str, Sequence[Any]], int]:
    """Return the columns of ``dataframe_split``, and the number of rows."""
    names = data.get("columns") if isinstance(data, dict) else None
    rows = data.get("data") if isinstance(data, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestRefusedError(422, "dataframe_split: columns: must be a list of names")
    if len(set(names)) < len(names):
        raise RequestRefusedError(422, "dataframe_split: columns: a name comes twice")
    if not isinstance(rows, list) or not rows:
        raise RequestRefusedError(422, "dataframe_split: data: must be a list of one row or more")
    check_count(len(rows), max_rows)
    for place, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            raise RequestRefusedError(
                422,
                f"dataframe_split: data: row {place}: must be a list of {len(names)} values, one for each column",
            )
    return dict(zip(names, zip(*rows, strict=True), strict=True)), len(rows)


def _columns(kind: str, data: object) -> tuple[dict[str, Sequence[Any]], int]:
    """Return the columns of records, or of one list for each feature, and the number of rows."""
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        names = data[0].keys()
        for place, row in enumerate(data):
            if row.keys() != names:
                raise RequestRefusedError(422, f"{kind}: row {place}: has other names than row 0")
        return {name: [row[name] for row in data] for name in names}, len(data)
    if isinstance(data, dict) and data and kind in ("inputs", "instances"):
        columns = {name: values if isinstance(values, list) else [values] for name, values in data.items()}
        sizes = {len(values) for values in columns.values()}
        if len(sizes) > 1 or sizes == {0}:
            raise RequestRefusedError(
                422, f"{kind}: the lists of the features must be of one length, one row or more"
            )
        return {name: _flat(values) for name, values in columns.items()}, sizes.pop()
    raise RequestRefusedError(
        422,
        f"{kind}: must be a list of objects with the features' names",
        "values without names have no meaning for this model",
    )


def _flat(values: list[Any]) -> list[Any]:
    """Return the values of an array of shape [rows, 1] as one of shape [rows]."""
    if all(isinstance(one, list) and len(one) == 1 for one in values):
        return [one[0] for one in values]
    return values


def _without_nan(value: Any) -> Any:
    return None if value != value else value
