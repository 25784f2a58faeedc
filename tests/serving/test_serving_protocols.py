"""V2 and MLflow's protocol, by clients of others: the scores, the routing and the log are those of ``/predict``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from evermodel.registry.traffic_plan import split
from evermodel.serving.app import create_app
from evermodel.serving.auth import Tokens
from support.serving_models import World, plan_for, request_rows, running, wait_until

TOKEN, OTHER = "a-token-that-is-long-enough", "another-token-long-enough"
ROWS = request_rows(40, 3)  # the first has unknown values; 40 rows are scored by the batcher


@pytest.fixture
def client(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    one, two = world.publish(1), world.publish(2, promote=False)
    plan_for(world, one, two, split("1", "2", 0.5))
    with running(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_until(lambda: client.get("/models").json()[0]["revision"] == 1, "the plan is in force")
        yield client


def tensors(rows: list[dict[str, Any]], *, binary: bool) -> list[InferInput]:
    data = pd.DataFrame(rows)
    found = []
    for name, datatype in (("temp", "FP64"), ("wind", "FP64"), ("carrier", "BYTES")):
        values = data[name].to_numpy(float if datatype == "FP64" else object).reshape(-1, 1)
        found.append(InferInput(name, list(values.shape), datatype))
        found[-1].set_data_from_numpy(values, binary_data=binary)
    return found


def triton(client: httpx.Client) -> Any:
    return closing(InferenceServerClient(f"{client.base_url.host}:{client.base_url.port}"))


def read_health_and_metadata(world: World, client: httpx.Client) -> None:
    with triton(client) as v2:
        assert v2.is_server_live()
        assert v2.is_server_ready()
        assert v2.is_model_ready(world.name)
        assert v2.is_model_ready(world.name, "2")
        assert not v2.is_model_ready(world.name, "3")
        assert not v2.is_model_ready("nothing")
        assert v2.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        found = v2.get_model_metadata(world.name)
        assert v2.get_model_metadata(world.name, "2")["versions"] == ["2"]
        with pytest.raises(InferenceServerException, match="a caller does not choose the version"):
            v2.infer(world.name, tensors(ROWS[:1], binary=True), model_version="2")
        with pytest.raises(InferenceServerException, match="carrier: is missing"):
            v2.infer(world.name, tensors(ROWS[:1], binary=True)[:2])
    assert found["versions"] == ["1", "2"]
    assert [(one["name"], one["datatype"], one["shape"]) for one in found["inputs"]] == [
        ("temp", "FP64", [-1]),
        ("wind", "FP64", [-1]),
        ("carrier", "BYTES", [-1]),
    ]
    assert [one["name"] for one in found["outputs"]] == ["score", "id"]


def test_a_v2_client_gets_the_scores_and_the_version_of_predict(world: World, client: httpx.Client) -> None:
    rows = [row for row in ROWS if None not in row.values()]
    versions = set()
    with triton(client) as v2:
        for caller in range(8):
            subject = {"X-Subject-ID": f"caller-{caller}"}
            ours = client.post("/predict", json={"rows": rows}, headers=subject).json()
            scores = [prediction["score"] for prediction in ours["predictions"]]
            for binary in (True, False):
                inputs = tensors(rows, binary=binary)
                found = v2.infer(world.name, inputs, request_id="r7", headers={**subject})
                assert found.as_numpy("score").tolist() == scores
                assert found.get_response()["model_version"] == ours["version"]
                assert found.get_response()["id"] == "r7"
            versions.add(ours["version"])
        plain = [InferRequestedOutput("score", binary_data=False)]
        found = v2.infer(world.name, tensors(rows, binary=True), outputs=plain)
        assert [output["name"] for output in found.get_response()["outputs"]] == ["score"]
        assert len(found.as_numpy("score")) == len(rows)
        ids = v2.infer(world.name, tensors(rows, binary=True), headers={"X-Request-ID": "mine"}).as_numpy(
            "id"
        )
        assert ids[1] == b"mine-1"
    assert versions == {"1", "2"}
    read_health_and_metadata(world, client)


def test_mlflows_client_gets_the_scores_of_predict(world: World, client: httpx.Client) -> None:
    mlflow = ScoringServerClient(client.base_url.host, client.base_url.port)
    mlflow.ping()
    assert mlflow.get_version()
    plain = {"X-Subject-ID": "caller-1"}
    ours = client.post("/predict", json={"rows": ROWS}, headers=plain).json()
    scores = {version: np.array(world.published[version].scores(ROWS)) for version in ("1", "2")}
    answer = mlflow.invoke(pd.DataFrame(ROWS).assign(id=range(40)))  # with NaN, as it sends them
    assert answer["predictions"] == pytest.approx(scores[answer["version"]], abs=1e-9)
    assert answer.get_predictions().shape == (40, 1)
    assert answer["ids"][7] == "7"
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    for body in (
        {"dataframe_records": ROWS},
        {"instances": ROWS},
        {"inputs": columns},
        {"inputs": ROWS},
        {"dataframe_split": {"columns": list(columns), "data": [list(row.values()) for row in ROWS]}},
    ):
        found = client.post("/invocations", json=body, headers=plain).json()
        assert found["predictions"] == [prediction["score"] for prediction in ours["predictions"]]
        assert found["version"] == ours["version"]


def test_the_log_and_the_counters_do_not_tell_protocols_apart(world: World) -> None:
    world.publish(1)
    with running(create_app([world.name], world.settings, poll_seconds=60)) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the app is ready")
        client.post("/predict", json={"rows": ROWS[:3]})
        client.post("/invocations", json={"dataframe_records": ROWS[:3]})
        with triton(client) as v2:
            v2.infer(world.name, tensors(ROWS[:3], binary=True), headers={"X-Request-ID": "v2"})
        metrics = client.get("/metrics").text
    assert f'evermodel_requests_total{{model="{world.name}",status="200",version="1"}} 3.0' in metrics
    logged = world.logged()
    assert len(logged) == 9
    same = logged.groupby("request_id")[["temp", "wind", "score"]].apply(
        lambda part: part.round(9).to_json(orient="values")
    )
    assert same.nunique() == 1
    assert set(logged[logged.request_id == "v2"]["prediction_id"]) == {"v2-0", "v2-1", "v2-2"}


def test_tokens_and_several_models(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    other = world.settings.models / "other.yaml"
    text = (world.settings.models / f"{world.name}.yaml").read_text()
    other.write_text(text.replace(world.name, "other"))
    world.publish(1)
    tokens = Tokens((f"{TOKEN} predict:{world.name}", OTHER))
    models = [world.name, "other"]

    def statuses(token: str, *requests: tuple[str, str]) -> list[int]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return [client.request(*one, headers=headers, json={}).status_code for one in requests]

    ours, theirs = ("POST", f"/v2/models/{world.name}/infer"), ("POST", "/v2/models/other/infer")
    with running(create_app(models, world.settings, poll_seconds=60, tokens=tokens)) as client:
        wait_until(lambda: client.get("/v2/health/ready").status_code == 503, "the other has no version")
        assert statuses("", ("GET", "/ping"), ("GET", "/v2/health/live"), ("GET", "/v2"), ours) == [
            503,
            200,
            401,
            401,
        ]
        assert statuses(TOKEN, ours, theirs, ("GET", "/v2"), ("GET", "/version")) == [422, 403, 200, 200]
        described = [("GET", f"/v2/models/{name}") for name in models]
        assert statuses(TOKEN, *described, ("GET", "/models"), ("POST", "/invocations")) == [
            200,
            403,
            403,
            404,
        ]
        assert client.get("/v2").json() == {
            "error": "a valid token is required; send the header `Authorization: Bearer <token>`"
        }
        unset = client.post("/invocations", json={}, headers={"Authorization": f"Bearer {OTHER}"})
        assert (unset.status_code, unset.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
        assert "set EVERMODEL_SERVING_INVOCATIONS=<model>" in unset.json()["message"]
    monkeypatch.setenv("EVERMODEL_SERVING_INVOCATIONS", world.name)
    with running(create_app(models, world.settings, poll_seconds=60, tokens=tokens)) as client:
        wait_until(lambda: client.get("/ping").status_code == 200, "the model of /invocations is ready")
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = client.post("/invocations", json={"instances": ROWS[:2]}, headers=headers)
        assert len(answer.json()["predictions"]) == 2
