"""Bad requests of V2 and of MLflow's protocol: each is refused, with its place and what to send."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from evermodel.core.errors import SpecError
from evermodel.modeling.scoring.loaded_version import Answer
from evermodel.modeling.scoring.request_rows import Inputs
from evermodel.serving.fallback import Answered
from evermodel.serving.protocols.invocations import InvocationsCodec, model_of_invocations
from evermodel.serving.protocols.open_inference import LENGTH_HEADER, OpenInferenceCodec, metadata
from support.serving_edge import ROW, Edges

GOOD: list[dict[str, Any]] = [
    {"name": "amount", "shape": [2], "datatype": "FP64", "data": [1.5, None]},
    {"name": "age", "shape": [2, 1], "datatype": "INT64", "data": [[30], [31]]},
    {"name": "colour", "shape": [2], "datatype": "BYTES", "data": ["red", None]},
]
INFER = "/v2/models/small/infer"


def changed(place: int = 0, **fields: Any) -> bytes:
    return json.dumps(
        {"inputs": [{**one, **fields} if i == place else one for i, one in enumerate(GOOD)]}
    ).encode()


def binary(size: object, data: bytes, **fields: Any) -> tuple[bytes, dict[str, str]]:
    first = {
        "name": "amount",
        "shape": [2],
        "datatype": "FP64",
        "parameters": {"binary_data_size": size},
        **fields,
    }
    text = json.dumps({"inputs": [first, *GOOD[1:]]}).encode()
    return text + data, {LENGTH_HEADER: str(len(text))}


def test_tensors_are_rows(edge: Edges) -> None:
    with edge() as (made, client):
        answer = client.post(INFER, content=changed(), headers={"X-Request-ID": "r"})
        assert answer.json() == {
            "model_name": "small",
            "model_version": "7",
            "parameters": {"request_id": "r"},
            "outputs": [
                {"name": "score", "datatype": "FP64", "shape": [2], "data": [0.25, 0.25]},
                {"name": "id", "datatype": "BYTES", "shape": [2], "data": ["r-0", "r-1"]},
            ],
        }
        body, headers = binary(16, struct.pack("<2d", 2.5, float("nan")))
        assert client.post(INFER, content=body, headers=headers).status_code == 200
        for datatype, data in (("FP16", "2e"), ("INT8", "2b"), ("BOOL", "2?"), ("UINT64", "2Q")):
            packed = struct.pack(f"<{data}", 1, 0)
            body, headers = binary(len(packed), packed, datatype=datatype)
            assert client.post(INFER, content=body, headers=headers).status_code == 200
        assert client.post(INFER, content=changed(datatype="BOOL", data=[True, False])).status_code == 200
    rows = made.logged()
    assert [row["amount"] for row in rows] == [1.5, None, 2.5, None, *[1.0, 0.0] * 5]
    assert [(row["age"], row["colour"]) for row in rows[:2]] == [(30.0, "red"), (31.0, None)]


def test_a_fallback_says_so_in_each_protocol(edge: Edges) -> None:
    with edge(loaded=False, fallback={"kind": "constant", "score": 0.19}) as (_, client):
        v2 = client.post(INFER, content=changed()).json()
        mlflow = client.post("/invocations", json={"instances": [{**ROW}]}).json()
    assert (v2["model_version"], v2["parameters"]["fallback"]) == ("constant", "constant")
    assert (mlflow["predictions"], mlflow["fallback"]) == ([0.19], "constant")


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 422, "not valid JSON"),
        (b"[]", 422, "must be a JSON object"),
        (b"\x1f\x8b", 415, "compressed"),
        (b"{}", 422, "inputs: must be a list of tensors"),
        (b'{"inputs": []}', 422, "inputs: must be a list of tensors"),
        (b'{"inputs": [1]}', 422, "inputs[0]: must be an object with a `name`"),
        (json.dumps({"inputs": GOOD[:2]}).encode(), 422, "colour: is missing"),
        (json.dumps({"inputs": [*GOOD, GOOD[0]]}).encode(), 422, "inputs[3] 'amount': comes twice"),
        (json.dumps({"inputs": GOOD * 9}).encode(), 422, "27 tensors for 3 features"),
        (changed(name="amuont"), 422, "did you mean amount?"),
        (changed(name="n" * 20_000), 422, "nnn...'"),
        (changed(name=7), 422, "inputs[0]: must be an object with a `name`"),
        (changed(shape=[3]), 422, "its shape has 3 rows, and its data 2"),
        (changed(shape=[2, 2]), 422, "has the shape [2, 2]"),
        (changed(shape=[2, 1, 1]), 422, "has the shape"),
        (changed(shape=[-1]), 422, "has the shape [-1]"),
        (changed(shape=[True]), 422, "has the shape"),
        (changed(shape="2"), 422, "has the shape"),
        (changed(shape=[0], data=[]), 422, "has the shape [0]"),
        (changed(shape=[10**9]), 413, "more than the 50 rows"),
        (changed(shape=[1], data=[1.0]), 422, "differ in their rows"),
        (changed(datatype="FP8"), 422, "has the datatype 'FP8'; use BYTES or one of BOOL, INT8"),
        (changed(datatype=["FP64"]), 422, "has the datatype"),
        (changed(datatype="INT64"), 422, "its data is not all INT64"),
        (
            changed(datatype="BYTES", data=["1", "2"]),
            422,
            "amount: must be a number or null, not the string '1'",
        ),
        (changed(2, datatype="FP64", data=[1.0, 2.0]), 422, "colour: must be a string or null"),
        (changed(data="12"), 422, "has no `data`"),
        (changed(data=[[1.0], [2.0]]), 422, "its data is not all FP64"),
        (changed(1, data=[[30, 1], [31]]), 422, "not of the shape [rows, 1]"),
        (changed(data=[1.0, float("nan")]), 422, "row 1: amount: must be a finite number or null"),
        (changed(data=[1.0, float("-inf")]), 422, "row 1: amount: must be a finite number or null"),
        (changed(data=[1.0, 1e31]), 422, "row 1: amount: must be a number from -1e+30"),
        (changed(parameters=[1]), 200, ""),
        (b'{"id": 7, "inputs": [1]}', 422, "id: must be a string"),
        (json.dumps({"id": "i" * 300, "inputs": GOOD}).encode(), 422, "id: must be a string of at most 256"),
        (
            json.dumps({"inputs": GOOD, "outputs": [{"name": "scores"}]}).encode(),
            422,
            "ask for score, id, label, decision",
        ),
        (json.dumps({"inputs": GOOD, "outputs": "score"}).encode(), 422, "outputs: an output is unknown"),
    ],
)
def test_bad_tensors_are_named(edge: Edges, content: bytes, status: int, message: str) -> None:
    with edge(max_rows=50) as (_, client):
        answer = client.post(INFER, content=content)
    assert answer.status_code == status, answer.text
    assert message in answer.json().get("error", "")
    assert len(answer.text) < 1000


@pytest.mark.parametrize(
    ("size", "data", "fields", "message"),
    [
        (16, b"1234", {}, "2 FP64 are 16 bytes, not 4"),
        (8, b"12345678", {}, "2 FP64 are 16 bytes, not 8"),
        (16, b"1" * 20, {}, "20 bytes follow the JSON, and its tensors have 16"),
        (-16, b"1" * 16, {}, "binary_data_size is not a number of bytes"),
        ("16", b"1" * 16, {}, "binary_data_size is not a number of bytes"),
        (10**30, b"1" * 16, {}, "binary_data_size is not a number of bytes"),
        (10**9, b"1" * 16, {}, "16 bytes follow the JSON"),
        (16, struct.pack("<2d", 1, float("inf")), {}, "row 1: amount: must be a finite number or null"),
        (8, b"\1\0\0\0a\1\0\0", {"datatype": "BYTES"}, "is not 2 texts"),
        (8, b"\xff\xff\xff\xffabcd", {"datatype": "BYTES"}, "is not 2 texts"),
        (15, b"\0\0\0\0" * 3 + b"abc", {"datatype": "BYTES"}, "is not 2 texts"),
        (10, b"\1\0\0\0\xff\1\0\0\0a", {"datatype": "BYTES"}, "row 0: is not UTF-8"),
    ],
)
def test_binary_data_that_lies_is_named(
    edge: Edges, size: object, data: bytes, fields: dict[str, Any], message: str
) -> None:
    body, headers = binary(size, data, **fields)
    with edge(max_rows=50) as (_, client):
        answer = client.post(INFER, content=body, headers=headers)
    assert answer.status_code == 422
    assert message in answer.json()["error"]


@pytest.mark.parametrize("length", ["0", "-1", "x", "9" * 40, "100000"])
def test_a_length_of_the_json_that_lies_is_named(edge: Edges, length: str) -> None:
    with edge() as (_, client):
        answer = client.post(INFER, content=changed(), headers={LENGTH_HEADER: length})
    assert answer.status_code == 422
    assert "is not the length of the JSON" in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"{}", 422, "must have one of the fields dataframe_split"),
        (b'{"rows": []}', 422, "must have one of the fields"),
        (b'{"inputs": [], "instances": []}', 422, "must have one of the fields"),
        (json.dumps({"instances": [ROW], "params": {"a": 1}}).encode(), 422, "params: the model takes none"),
        (b'{"inputs": [[1, 2, "red"]]}', 422, "values without names"),
        (b'{"instances": {"amount": [1], "age": [1, 2], "colour": ["a"]}}', 422, "must be of one length"),
        (b'{"inputs": {"amount": [], "age": [], "colour": []}}', 422, "one row or more"),
        (b'{"dataframe_records": []}', 422, "must be a list of objects"),
        (json.dumps({"dataframe_records": [{**ROW, "size": 1}]}).encode(), 422, "'size': is not a feature"),
        (json.dumps({"dataframe_records": [ROW] * 51}).encode(), 413, "more than the 50 rows"),
        (
            b'{"dataframe_split": {"columns": ["age"], "data": [[1, 2]]}}',
            422,
            "row 0: must be a list of 1 values",
        ),
        (b'{"dataframe_split": {"columns": ["age", "age"], "data": [[1, 2]]}}', 422, "a name comes twice"),
        (b'{"dataframe_split": {"columns": [7], "data": [[1]]}}', 422, "must be a list of names"),
        (b'{"dataframe_split": {"columns": [], "data": []}}', 422, "one row or more"),
        (b'{"dataframe_split": {"columns": ["age"], "data": [[1]]}}', 422, "amount: is missing"),
        (b'{"inputs": {"amount": [Infinity], "age": [1], "colour": ["a"]}}', 422, "must be a finite number"),
        (b'{"inputs": {"amount": 1, "age": [[2]], "colour": ["a"]}}', 200, ""),
        (json.dumps({"dataframe_records": [{**ROW, "age": float("nan")}]}).encode(), 200, ""),
        (b'{"inputs": {"amount": [' + b"[]," * 60_000 + b"1]}}", 413, "more than 50000 commas and brackets"),
    ],
)
def test_bad_invocations_are_named(edge: Edges, content: bytes, status: int, message: str) -> None:
    with edge(max_rows=50) as (_, client):
        answer = client.post("/invocations", content=content)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert message in answer.json()["message"]
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_large_frame_may_have_unknown_numbers(edge: Edges) -> None:
    row = [float("nan"), 2.0, "crimson, and a comma" * 3]
    body = json.dumps({"dataframe_split": {"columns": list(ROW), "data": [row] * 1000}})
    assert len(body) > 64 * 1024
    with edge() as (_, client):
        answer = client.post("/invocations", content=body)
    assert len(answer.json()["predictions"]) == 1000


def test_the_model_of_invocations_is_set_or_the_only_one() -> None:
    assert model_of_invocations(["a"], {}) == "a"
    assert model_of_invocations(["a", "b"], {}) is None
    assert model_of_invocations(["a", "b"], {"EVERMODEL_SERVING_INVOCATIONS": "b"}) == "b"
    with pytest.raises(SpecError, match="is not served"):
        model_of_invocations(["a"], {"EVERMODEL_SERVING_INVOCATIONS": "c"})


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        (Answer(0.6, "late"), {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["late", "late"]}),
        (Answer(0.6, None, 1), {"name": "decision", "datatype": "INT64", "shape": [2], "data": [1, 1]}),
    ],
)
def test_a_class_or_decision_is_answered_beside_the_score(answer: Answer, output: dict[str, Any]) -> None:
    inputs = Inputs(("amount",), frozenset({"amount"}))
    answered = Answered([answer, answer], "7", inputs, [(1.0,), (2.0,)], ids=["a", "b"])
    codec = OpenInferenceCodec({"headers": []})
    assert json.loads(codec.answer("small", "r", answered).body)["outputs"][2] == output
    binary = {"inputs": [{**GOOD[0]}], "parameters": {"binary_data_output": True}}
    codec.parse(json.dumps(binary).encode(), inputs, 50, "id")
    content = codec.answer("small", "r", answered)
    data = content.body[int(content.headers[LENGTH_HEADER]) :]
    expected = b"\4\0\0\0late" * 2 if answer.label else struct.pack("<2q", 1, 1)
    assert data == struct.pack("<2d", 0.6, 0.6) + b"\1\0\0\0a\1\0\0\0b" + expected
    (first, _) = json.loads(InvocationsCodec().answer("small", "r", answered).body)["predictions"]
    assert first == {"score": 0.6, output["name"]: output["data"][0]}
    assert metadata("small", ["7"], inputs, output["name"])["outputs"][2]["datatype"] == output["datatype"]
