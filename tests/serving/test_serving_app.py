from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from evermodel.core.errors import SpecError
from evermodel.serving.app import create_app
from support.serving_models import SPEC, World, request_rows, wait_until


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    world.publish(1)
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the app is ready")
        yield client


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "pipeline"])
@pytest.mark.parametrize("candidate", [0, 1])
def test_answers_are_those_of_the_pipeline(world: World, candidate: int, graph: bool) -> None:
    made = world.publish(1, candidate=candidate, graph=graph)
    rows = request_rows(20, seed=9)
    assert rows[0]["temp"] is None
    assert rows[0]["carrier"] is None
    rows[1]["carrier"] = "never seen"
    with TestClient(create_app([world.name], world.settings)) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the app is ready")
        for path in ("/predict", f"/models/{world.name}/predict"):
            answer = client.post(path, json={"rows": rows})
            body = answer.json()
            assert answer.status_code == 200, body
            assert (body["model"], body["version"]) == (world.name, made.version)
            assert [p["score"] for p in body["predictions"]] == pytest.approx(made.scores(rows), abs=1e-12)
        assert client.get("/models").json()[0]["engine"] == ("onnx" if graph else "sklearn")
        one = client.post("/predict", json={"row": {**rows[3], "id": 7}}).json()
        assert one["predictions"] == [{"id": "7", "score": pytest.approx(made.scores(rows)[3], abs=1e-12)}]


def test_states_before_and_after_the_first_champion(world: World) -> None:
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        assert client.get("/health").json() == {"status": "alive"}
        wait_until(lambda: "has no champion" in client.get("/models").text, "the reason is named")
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()["reasons"]) == (503, {world.name: "load_failed"})
        refused = client.post("/predict", json={"rows": request_rows(1, 1)})
        assert refused.status_code == 503
        assert "has no champion" in refused.json()["detail"]
        made = world.publish(1)
        wait_until(lambda: client.get("/ready").status_code == 200, "the first champion answers")
        wait_until(lambda: client.get("/models").json()[0]["last_error"] is None, "the error is forgotten")
        (state,) = client.get("/models").json()
        assert state["version"] == made.version
        assert state["since"]
        assert state["last_checked"]
        assert state["inputs"] == [
            {"name": "temp", "type": "number"},
            {"name": "wind", "type": "number"},
            {"name": "carrier", "type": "string"},
        ]


@pytest.mark.usefixtures("recursion_limit_of_a_server")
def test_refusals_are_clear_and_never_500(client: TestClient, world: World) -> None:
    good = {"temp": 1.0, "wind": 2, "carrier": "AA"}
    cases = [
        (b"{nonsense", 422, "not valid JSON"),
        (b"\xff\xfe", 422, "not valid JSON"),
        (b"[" * 15_000, 422, "nested too deeply"),
        (b"", 422, "not valid JSON"),
        (
            b'{"rows": [{"temp": NaN, "wind": 1, "carrier": null}]}',
            422,
            "row 0: temp: must be a finite number",
        ),
        (
            b'{"rows": [{"temp": 1e999, "wind": 1, "carrier": null}]}',
            422,
            "row 0: temp: must be a finite number",
        ),
        (
            b'{"rows": [{"temp": 1, "wind": 1, "carrier": "\\ud800"}]}',
            422,
            "row 0: carrier: is not valid Unicode",
        ),
        (
            b'{"rows": [{"temp": 1, "wind": 1, "carrier": "A", "\\ud800": 1}]}',
            422,
            "is not a feature",
        ),
    ]
    for body, status, message in cases:
        answer = client.post("/predict", content=body)
        assert (answer.status_code, message in answer.json()["detail"]) == (status, True), answer.text
    typo = client.post("/predict", json={"rows": [good, {"tmp": 1.0, "wind": 2.0, "carrier": "AA"}]})
    assert typo.status_code == 422
    assert "row 1: temp: is missing" in typo.json()["detail"]
    assert "row 1: 'tmp': is not a feature; did you mean temp?" in typo.json()["detail"]
    assert client.post("/predict", json={"rows": [good] * 51}).status_code == 413
    assert client.post("/predict", content=b" " * 2_000_000).status_code == 413
    unknown = client.post("/models/lat/predict", json={"rows": [good]})
    assert unknown.status_code == 404
    assert f"served: {world.name}" in unknown.json()["detail"]
    assert client.post("/predict", json={"rows": [good]}).status_code == 200


def test_request_ids(client: TestClient) -> None:
    rows = {"rows": request_rows(1, 1)}
    given = client.post("/predict", json=rows, headers={"X-Request-ID": "order-7.a"})
    assert given.headers["X-Request-ID"] == given.json()["request_id"] == "order-7.a"
    for insane in ("a b", "x" * 101, "<script>"):
        made = client.post("/predict", json=rows, headers={"X-Request-ID": insane})
        assert made.headers["X-Request-ID"] == made.json()["request_id"]
        assert made.json()["request_id"].isalnum()
    refused = client.post("/predict", json={}, headers={"X-Request-ID": "bad-1"})
    assert refused.json()["request_id"] == "bad-1"
    assert client.get("/health").headers["X-Request-ID"]


def test_metrics_and_documentation(client: TestClient, world: World) -> None:
    client.post("/predict", json={"rows": request_rows(2, 1)})
    client.post("/predict", json={"rows": []})
    client.post("/models/nothing/predict", json={"rows": []})
    text = client.get("/metrics").text
    labels = f'model="{world.name}",'
    assert f'evermodel_requests_total{{{labels}status="200",version="1"}} 1.0' in text
    assert f'evermodel_requests_total{{{labels}status="422",version="1"}} 1.0' in text
    assert 'evermodel_requests_total{model="(unknown)",status="404",version="none"} 1.0' in text
    assert f'evermodel_request_seconds_count{{model="{world.name}"}} 2.0' in text
    assert f'evermodel_model_info{{{labels}version="1"}} 1.0' in text
    assert f'evermodel_swaps_total{{model="{world.name}"}} 1.0' in text
    schema = client.get("/openapi.json").json()
    content = schema["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    example = content["examples"][world.name]["value"]
    assert client.post("/predict", json=example).status_code == 200
    assert example["rows"][0]["id"] == "example-1"
    row = content["schema"]["oneOf"][1]["properties"]["row"]
    assert row["properties"]["id"]["type"] == ["string", "integer"]
    assert "joins this prediction with its label" in row["properties"]["id"]["description"]
    assert row["required"] == ["temp", "wind", "carrier"]
    assert row["properties"]["carrier"] == {"type": ["string", "null"]}
    assert f"/models/{world.name}/predict" in schema["paths"]
    page = client.get("/docs").text
    assert "<td><code>carrier</code></td><td>string or null</td>" in page
    assert not any(fetched in page for fetched in ("http:", "https:", "<script", "src="))


def test_a_model_that_fails_on_a_request_answers_500_in_json(client: TestClient, world: World) -> None:
    class Broken:
        def predict_proba(self, frame: object) -> object:
            raise ValueError("no")

    (reconciler,) = client.app.state.reconcilers.values()  # type: ignore[attr-defined]
    reconciler.stop()
    object.__setattr__(reconciler.current, "pipeline", Broken())
    object.__setattr__(reconciler.current, "fast", None)
    answer = client.post("/predict", json={"rows": request_rows(1, 1)})
    assert answer.status_code == 500
    assert "failed on this request" in answer.json()["detail"]
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


def test_several_models_need_their_name(world: World) -> None:
    world.publish(1)
    other = world.settings.models / "other.yaml"
    other.write_text(SPEC.format(name="other"))
    with TestClient(create_app([world.name, "other"], world.settings, poll_seconds=0.2)) as client:
        rows = {"rows": request_rows(2, 1)}
        wait_until(
            lambda: client.post(f"/models/{world.name}/predict", json=rows).status_code == 200, "it answers"
        )
        wait_until(lambda: "has no champion" in client.get("/models").text, "the other is looked for")
        assert list(client.get("/ready").json()["reasons"]) == ["other"]
        assert client.post("/predict", json=rows).status_code == 404


def test_no_model_is_refused(world: World) -> None:
    with pytest.raises(SpecError, match="no model"):
        create_app([], world.settings)
    with pytest.raises(SpecError, match="did you mean"):
        create_app([world.name + "x"], world.settings)


def test_an_edited_spec_does_not_change_what_an_old_version_sees(world: World) -> None:
    made = world.publish(1)
    file = world.settings.models / f"{world.name}.yaml"
    file.write_text(file.read_text().replace("numeric: [temp, wind]", "numeric: [wind, humidity, temp]"))
    rows = request_rows(3, 2)
    with TestClient(create_app([world.name], world.settings)) as client:
        wait_until(lambda: client.get("/ready").status_code == 200, "the old version answers")
        scores = [p["score"] for p in client.post("/predict", json={"rows": rows}).json()["predictions"]]
    assert scores == pytest.approx(made.scores(rows), abs=1e-12)
    assert not any(map(math.isnan, scores))
