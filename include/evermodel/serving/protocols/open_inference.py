"""The Open Inference Protocol V2 (KServe, Triton, MLServer): one tensor for each feature, as JSON or binary data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import Scope

from evermodel.modeling.scoring.request_columns import parse_columns
from evermodel.modeling.scoring.request_json import RequestRefusedError, decode_whole
from evermodel.modeling.scoring.request_rows import Inputs, ParsedRows
from evermodel.serving.fallback import Answered
from evermodel.serving.protocols.codec import Content
from evermodel.serving.protocols.tensors import column_of, encoded, parameter_of

LENGTH_HEADER = "Inference-Header-Content-Length"
EXTENSIONS = ("binary_tensor_data",)
_HEADER = LENGTH_HEADER.lower().encode()
_LONGEST_ID = 256
_SEND = "send binary tensors, or the rows in several requests"
_DATATYPES = {"score": "FP64", "id": "BYTES", "label": "BYTES", "decision": "INT64"}


class OpenInferenceCodec:
    """Reads the tensors of one request, and writes its outputs: ``score``, ``id``, and ``label`` or ``decision``.

    Parameters
    ----------
    scope
        The request; its headers say where binary data begins.
    """

    def __init__(self, scope: Scope) -> None:
        self._json_bytes = next((value for name, value in scope["headers"] if name == _HEADER), None)
        self._id = ""
        self._binary: Mapping[str, bool] = {}  # by output that is asked for
        self._all_binary = False

    def parse(self, body: bytes, inputs: Inputs, max_rows: int, id_column: str) -> ParsedRows:
        """Return the rows of the tensors; see `parse_columns`."""
        text, data = self._split(body)
        request = decode_whole(text, _SEND)
        self._read_wishes(request)
        tensors = request.get("inputs")
        if not isinstance(tensors, list) or not tensors:
            raise RequestRefusedError(
                422, "inputs: must be a list of tensors", "send one for each feature of the model"
            )
        if len(tensors) > 2 * len(inputs.known) + 1:
            problem = f"inputs: there are {len(tensors)} tensors for {len(inputs.names)} features"
            raise RequestRefusedError(422, problem, "send one for each feature, with a row in each place")
        columns = self._columns(tensors, data, max_rows)
        (rows, *others) = {len(values) for values in columns.values()}
        if others:
            sizes = ", ".join(f"{name[:60]!r} {len(values)}" for name, values in list(columns.items())[:10])
            raise RequestRefusedError(422, f"inputs: the tensors differ in their rows ({sizes})")
        return parse_columns(columns, rows, inputs, id_column)

    def answer(self, model: str, request_id: str, answered: Answered) -> Content:
        """Return the outputs that were asked for; all of them if none was."""
        values: dict[str, list[Any]] = {
            "score": [answer.score for answer in answered.answers],
            "id": list(answered.ids),
        }
        if answered.answers[0].label is not None:
            values["label"] = [answer.label for answer in answered.answers]
        if answered.answers[0].decision is not None:
            values["decision"] = [answer.decision for answer in answered.answers]
        parameters = {"request_id": request_id}
        if answered.fallback is not None:
            parameters["fallback"] = answered.fallback
        outputs, data = self._outputs(values)
        content = {
            "model_name": model,
            "model_version": answered.version,
            **({"id": self._id} if self._id else {}),
            "parameters": parameters,
            "outputs": outputs,
        }
        text = orjson.dumps(content)
        if not data:
            return Content(text)
        headers = {LENGTH_HEADER: str(len(text))}
        return Content(b"".join((text, *data)), "application/octet-stream", headers)

    def refusal(self, status: int, detail: str, request_id: str) -> bytes:
        """Return the JSON of an error."""
        return orjson.dumps({"error": detail})

    def _outputs(self, values: dict[str, list[Any]]) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Return the outputs as JSON, and the binary data of those that are asked for so."""
        outputs: list[dict[str, Any]] = []
        data: list[bytes] = []
        for name, found in values.items():
            if self._binary and name not in self._binary:
                continue
            output: dict[str, Any] = {"name": name, "datatype": _DATATYPES[name], "shape": [len(found)]}
            if self._binary.get(name, self._all_binary):
                data.append(encoded(_DATATYPES[name], found))
                output["parameters"] = {"binary_data_size": len(data[-1])}
            else:
                output["data"] = found
            outputs.append(output)
        return outputs, data

    def _split(self, body: bytes) -> tuple[bytes, bytes]:
        if self._json_bytes is None:
            return body, b""
        size = int(self._json_bytes) if len(self._json_bytes) < 10 and self._json_bytes.isdigit() else -1
        if not 0 < size <= len(body):
            raise RequestRefusedError(
                422, f"{LENGTH_HEADER}: is not the length of the JSON before the binary data"
            )
        return body[:size], body[size:]

    def _columns(self, tensors: list[Any], data: bytes, max_rows: int) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        start = 0

        def binary(size: int) -> bytes:
            nonlocal start
            start += size
            return data[start - size : start]

        for place, tensor in enumerate(tensors):
            name, values = column_of(tensor, place, binary, max_rows)
            if name in columns:
                raise RequestRefusedError(422, f"inputs[{place}] {name[:60]!r}: comes twice")
            columns[name] = values
        if start != len(data):
            raise RequestRefusedError(
                422,
                f"{len(data)} bytes follow the JSON, and its tensors have {start}",
                f"set {LENGTH_HEADER} and each binary_data_size",
            )
        return columns

    def _read_wishes(self, request: dict[str, Any]) -> None:
        self._id = request.get("id", "")
        if not isinstance(self._id, str) or len(self._id) > _LONGEST_ID:
            raise RequestRefusedError(422, f"id: must be a string of at most {_LONGEST_ID} characters")
        self._all_binary = parameter_of(request, "binary_data_output") is True
        wanted = request.get("outputs") or []
        if not isinstance(wanted, list) or not all(map(_is_output, wanted)):
            raise RequestRefusedError(
                422, "outputs: an output is unknown, or not an object", f"ask for {', '.join(_DATATYPES)}"
            )
        self._binary = {
            output["name"]: parameter_of(output, "binary_data") is True
            or (self._all_binary and parameter_of(output, "binary_data") is None)
            for output in wanted
        }


def _is_output(wanted: object) -> bool:
    return isinstance(wanted, dict) and isinstance(wanted.get("name"), str) and wanted["name"] in _DATATYPES


def metadata(model: str, versions: list[str], inputs: Inputs, predicted: str | None) -> dict[str, Any]:
    """Return the metadata of a model: its features as inputs, and the outputs.

    Parameters
    ----------
    predicted
        The output beside score and id, if there is one: ``label`` or ``decision``.
    """
    outputs = ["score", "id", *filter(None, [predicted])]
    return {
        "name": model,
        "versions": versions,
        "platform": "evermodel",
        "inputs": [_tensor(name, "FP64" if name in inputs.numeric else "BYTES") for name in inputs.names],
        "outputs": [_tensor(name, _DATATYPES[name]) for name in outputs],
    }


def _tensor(name: str, datatype: str) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1]}
