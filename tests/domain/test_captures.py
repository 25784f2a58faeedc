"""Logs of serving platforms as they write them, read into the columns of a watched model."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from evermodel.core.errors import SourceError
from evermodel.data.captures import inference_events, inference_table, sagemaker_capture
from evermodel.data.foreign_log import collect
from evermodel.data.prediction_log import read_log
from evermodel.spec.window import Window
from support.foreign_log import ForeignModel

IRIS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
DAY = datetime(2022, 2, 14, tzinfo=UTC), datetime(2022, 2, 15, tzinfo=UTC)
ANY = datetime(2019, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


def lines(file: Path, *records: Any) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(file)


def captured(asked: str, told: str, *, at: str = "2022-02-14T17:25:49Z", name: str = "aaaaaaaa-bbbb", encoding: str = "CSV",
             kind: str = "text/csv", **about: str) -> dict[str, Any]:  # fmt: skip
    """A record in the form of https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture-endpoint.html."""
    return {
        "captureData": {
            "endpointInput": {"observedContentType": kind, "mode": "INPUT", "data": asked, "encoding": encoding},
            "endpointOutput": {"observedContentType": f"{kind}; charset=utf-8", "mode": "OUTPUT", "data": told, "encoding": encoding},
        },
        "eventMetadata": {"eventId": name, "inferenceTime": at, **about},
        "eventVersion": "0",
    }  # fmt: skip


def test_sagemaker_csv_of_one_row_and_of_several(tmp_path: Path) -> None:
    base = tmp_path / "endpoint" / "AllTraffic"
    lines(
        base / "2022/02/14/17/25-06-1.jsonl",
        captured("69,0,153.7,109\n", "0.0254181120544672"),
        captured("1,2,3,\n5,6,7,8\n", "0.5\n0.25\n", name="cccc", inferenceId="order-9"),
        captured("1,2,3,4", "0.1", at="2022-02-15T00:00:00Z", name="next day"),
    )
    lines(base / "2022/02/15/17/25-06-1.jsonl", {"never": "read"})

    path = f"{base}/{{day:%Y/%m/%d}}/*/*.jsonl"
    found = sagemaker_capture(*DAY, path=path, features=["a", "b", "c", "d"])

    assert found.drop_columns(["time"]).to_pydict() == {
        "request_id": ["aaaaaaaa-bbbb", "order-9/0", "order-9/1"],
        "a": [69.0, 1.0, 5.0],
        "b": [0.0, 2.0, 6.0],
        "c": [153.7, 3.0, 7.0],
        "d": [109.0, None, 8.0],
        "prediction": [0.0254181120544672, 0.5, 0.25],
    }
    assert found["time"].to_pylist()[0] == datetime(2022, 2, 14, 17, 25, 49, tzinfo=UTC)


def test_sagemaker_json_also_as_base64(tmp_path: Path) -> None:
    asked = json.dumps({"instances": [{"a": 1.5, "b": "x"}]})
    told = json.dumps({"predictions": [{"score": 0.75, "predicted_label": 1}]})
    coded = [base64.b64encode(text.encode()).decode() for text in (asked, told)]
    path = lines(
        tmp_path / "capture.jsonl",
        captured(asked, told, encoding="JSON", kind="application/json"),
        captured(*coded, encoding="BASE64", kind="application/json", name="again"),
    )
    found = sagemaker_capture(*DAY, path=path, features=["a", "b"])
    assert (found["a"].to_pylist(), found["b"].to_pylist()) == ([1.5, 1.5], ["x", "x"])
    assert found["prediction"].to_pylist() == [0.75, 0.75]
    labels = sagemaker_capture(*DAY, path=path, features=["a", "b"], answer="predicted_label")
    assert labels["prediction"].to_pylist() == [1, 1]


def event(
    kind: str, data: Any, *, name: str = "defb5816", at: str = "2021-04-10T01:22:16.498917288Z"
) -> dict[str, Any]:
    """An event of KServe's logger, https://kserve.github.io/website/latest/modelserving/logger/logger/, as JSON."""
    return {
        "specversion": "1.0",
        "type": kind,
        "source": "http://localhost:9081/",
        "id": name,
        "time": at,
        "datacontenttype": "application/json",
        "inferenceservicename": "sklearn-iris",
        "namespace": "default",
        "data": data,
    }


def test_kserve_and_seldon_events_are_paired_in_whatever_order(tmp_path: Path) -> None:
    two = {"instances": [[6.8, 2.8, 4.8, 1.4], [6.0, 3.4, 4.5, 1.6]]}
    path = lines(
        tmp_path / "events.jsonl",
        event("org.kubeflow.serving.inference.request", two),
        event("io.seldon.serving.inference.response", json.dumps({"predictions": [[0.9, 0.1]]}), name="7g"),
        event(
            "org.kubeflow.serving.inference.response", {"predictions": [1, 0]}, at="2021-04-10T01:22:16.514Z"
        ),
        event("io.seldon.serving.inference.request", {"instances": [[1, 2, 3, 4]]}, name="7g"),
        event("org.kubeflow.serving.inference.request", two, name="failed"),
        event("org.kubeflow.serving.inference.outlier", {"data": {}}, name="defb5816"),
    )
    found = inference_events(*ANY, path=path, features=IRIS)
    assert found["request_id"].to_pylist() == ["defb5816/0", "defb5816/1", "7g"]
    assert found["prediction"].to_pylist() == [1, 0, 0.1]
    assert found["sepal_length"].to_pylist() == [6.8, 6.0, 1]
    assert found["time"].to_pylist()[0] == datetime(2021, 4, 10, 1, 22, 16, 498917, tzinfo=UTC)
    assert inference_events(*ANY, path=path, features=IRIS, answer=0)["prediction"].to_pylist()[-1] == 0.9


def test_the_v2_protocol_of_mlserver_as_one_tensor_or_a_column_each(tmp_path: Path) -> None:
    whole = {
        "inputs": [
            {
                "name": "input-0",
                "shape": [2, 4],
                "datatype": "FP32",
                "data": [6.8, 2.8, 4.8, 1.4, 6.0, 3.4, 4.5, 1.6],
            }
        ]
    }
    told = {
        "model_name": "iris",
        "id": "1",
        "outputs": [{"name": "predict", "shape": [2], "datatype": "INT64", "data": [1, 0]}],
    }
    columns = {
        "inputs": [
            {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [[value]]}
            for name, value in zip(IRIS, (1.0, 2.0, 3.0, 4.0), strict=True)
        ]
    }
    shares = {
        "outputs": [{"name": "predict_proba", "shape": [1, 2], "datatype": "FP64", "data": [0.75, 0.25]}]
    }
    path = lines(
        tmp_path / "events.jsonl",
        event("org.kubeflow.serving.inference.request", whole),
        event("org.kubeflow.serving.inference.response", told),
        event("org.kubeflow.serving.inference.request", columns, name="b"),
        event("org.kubeflow.serving.inference.response", shares, name="b"),
    )  # fmt: skip
    found = inference_events(*ANY, path=path, features=IRIS)
    assert found["petal_width"].to_pylist() == [1.4, 1.6, 4.0]
    assert found["prediction"].to_pylist() == [1, 0, 0.25]


def test_inference_tables_of_databricks_and_mlflow(tmp_path: Path) -> None:
    at = 1_644_859_549_000  # 14 February 2022, 17:25:49
    split = {"dataframe_split": {"columns": ["a", "b"], "data": [[1.0, "x"], [2.0, "y"]]}}
    records = {"dataframe_records": [{"a": 3.0, "b": "z"}]}
    inputs = {"inputs": {"a": [4.0], "b": ["w"]}}
    requests = [split, records, inputs, records, records]
    answers = [[0.1, 0.2], [0.3], [0.4], [0.5], [0.6]]
    table = pa.table(
        {
            "databricks_request_id": [f"r{number}" for number in range(5)],
            "client_request_id": pa.array([None, "mine", None, None, None], pa.string()),
            "timestamp_ms": [at, at, at, at, at + 86_400_000],
            "status_code": [200, 200, 200, 400, 200],
            "request": [json.dumps(request) for request in requests],
            "response": [json.dumps({"predictions": found}) for found in answers],
        }
    )
    write_deltalake(str(tmp_path / "payload"), table)
    found = inference_table(*DAY, path=str(tmp_path / "payload"))
    assert found["request_id"].to_pylist() == ["r0/0", "r0/1", "mine", "r2"]
    assert found["a"].to_pylist() == [1.0, 2.0, 3.0, 4.0]
    assert found["b"].to_pylist() == ["x", "y", "z", "w"]
    assert found["prediction"].to_pylist() == [0.1, 0.2, 0.3, 0.4]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"captureData": {}}, "line 1 cannot be read: KeyError: 'eventMetadata'"),
        (captured("1,2", "0.5"), "line 1 cannot be read: ValueError"),
        (captured("1,2,3,4", "0.5\n0.6"), "has 1 rows, its response 2"),
        (captured("1,2,3,4", "0.5", at="yesterday"), "yesterday"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path: Path, record: Any, said: str) -> None:
    path = lines(tmp_path / "capture.jsonl", record)
    with pytest.raises(SourceError, match=said):
        sagemaker_capture(*DAY, path=path, features=["a", "b", "c", "d"])


def test_a_malformed_request_is_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = [captured("1,2", "0.5", name=f"r{place}") for place in range(18)]
    bad = [captured("1,2", "0.5\n0.6", name="two"), {"captureData": {}}]
    path = lines(tmp_path / "capture.jsonl", *good[:9], *bad, *good[9:])

    found = sagemaker_capture(*DAY, path=path, features=["a", "b"])

    assert found["request_id"].to_pylist() == [f"r{place}" for place in range(18)]
    (said,) = caplog.messages
    assert said.startswith("2 of 20 requests are skipped; the first: ")
    assert "line 10 cannot be read: ValueError: request two has 1 rows, its response 2" in said
    lines(tmp_path / "capture.jsonl", *good[:17], *bad)
    with pytest.raises(SourceError, match="2 of 19 requests"):
        sagemaker_capture(*DAY, path=path, features=["a", "b"])


def test_a_capture_is_the_source_of_a_watched_model(tmp_path: Path, database: str) -> None:
    path = lines(
        tmp_path / "capture.jsonl", captured("69,0.5\n", "0.25"), captured("70,0.5\n", "0.75", name="b")
    )
    model = ForeignModel(tmp_path, database)
    model.spec_data |= {
        "source": {
            "kind": "python",
            "function": "evermodel.data.captures:sagemaker_capture",
            "arguments": {"path": path, "features": ["amount", "age"]},
        },
        "time_column": "time",
        "id_column": "request_id",
        "features": {"numeric": ["amount", "age"]},
        "watch": {"prediction": "prediction", "reference": {"start": "2022-02-01", "end": "2022-02-14"}},
    }
    del model.spec_data["label"]
    collect(model.spec, model.settings.lake, *DAY)
    log = read_log(model.spec, model.settings.lake, Window(*DAY))
    assert log["prediction_id"].to_pylist() == ["aaaaaaaa-bbbb", "b"]
    assert log["score"].to_pylist() == [0.25, 0.75]
