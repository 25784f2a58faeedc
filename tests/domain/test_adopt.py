"""`evermodel adopt`: the past of models that others train and serve is judged, and nothing of theirs is written."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.cli.local_stack.ports import free_port
from evermodel.core.errors import ModelFormatError, NoChampionError, SpecError
from evermodel.modeling.foreign.endpoint import ask
from evermodel.spec import load_spec
from support.foreign_models import NUMBERS, START, classifier, pickled, rows, sklearn_folder
from support.mlflow_server import wait_for_mlflow


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models").mkdir()
    monkeypatch.setenv("EVERMODEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def adopt(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["adopt", *words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def history(server: str, folder: Path) -> None:
    """Register four versions: a good one, a worse one, a middling one that serves, and a good one that does not."""
    import mlflow
    from mlflow.models import infer_signature

    client = mlflow.MlflowClient(server, server)
    client.create_registered_model("churn-prod")
    past = rows(1500, seed=9)
    noise = past.assign(churned=np.random.default_rng(1).permutation(past["churned"]))
    middling = past.assign(tenure=past["tenure"] + np.random.default_rng(2).normal(0, 8, len(past)))
    run = client.create_run("0")
    for place, data in enumerate((past, noise, middling, past)):
        own = folder / f"v{place}"
        signature = infer_signature(data[NUMBERS], data["churned"].to_numpy())
        mlflow.sklearn.save_model(
            classifier(data),
            own,
            signature=signature,
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
        client.log_artifacts(run.info.run_id, str(own), f"v{place}")
        client.create_model_version("churn-prod", f"{run.info.artifact_uri}/v{place}", run.info.run_id)
    client.set_registered_model_alias("churn-prod", "champion", "3")


def test_a_registered_model_is_judged_and_mlflows_database_stays_as_it_is(
    installation: Path, mlflow_server: str, mlflow_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    history(mlflow_server, installation)
    with sqlite3.connect(
        mlflow_folder / "mlflow.db"
    ) as database:  # as if each had been made three weeks after the last
        for version in range(1, 5):
            made = int((START + timedelta(days=21 * (version - 1))).timestamp() * 1000)
            database.execute(
                "UPDATE model_versions SET creation_time = ? WHERE name = 'churn-prod' AND version = ?",
                (made, version),
            )
    rows(2400, days=84).to_parquet("rows.parquet")
    before = _stored(mlflow_folder)

    found = adopt(
        "models:/churn-prod@champion", "--data", "rows.parquet", "--target", "churned", "--id", "customer"
    )

    assert _stored(mlflow_folder) == before
    said = {one["version"]: (one["shipped"], one["against"], one["finding"]) for one in found["versions"]}
    assert said == {
        "1": (True, "", ""),
        "2": (True, "1", "worse shipped"),
        "3": (True, "2", ""),
        "4": (False, "3", "better held back"),
    }
    assert found["findings"][0].startswith(
        "Version 2 of 2026-01-26 shipped and was worse than version 1: roc_auc -"
    )
    assert found["windows"] >= 4
    assert "Version 4 of 2026-03-09 did not ship" in Path(found["report"]).read_text()
    spec = load_spec("churn_prod")
    assert spec.watch is not None
    assert spec.features.numeric == ("tenure", "fee")
    assert CliRunner().invoke(app, ["check", "churn_prod"]).exit_code == 0
    log = pd.read_parquet(str(spec.source.path)).groupby("model_version").size()  # type: ignore[union-attr]
    assert set(log.index) == {"1", "2", "3"}
    # Nothing else was written: no lake, no database, no message.
    assert not (installation / "home").exists()

    with pytest.raises(NoChampionError, match="has no alias staging"):
        adopt("models:/churn-prod@staging", "--data", "rows.parquet")
    with pytest.raises(SpecError, match="already exists"):
        adopt("models:/churn-prod/2", "--data", "rows.parquet")


def _stored(folder: Path) -> tuple[list[str], list[tuple[str, int]]]:
    with sqlite3.connect(folder / "mlflow.db") as database:
        lines = list(database.iterdump())
    files = [(str(file), file.stat().st_mtime_ns) for file in sorted((folder / "artifacts").rglob("*"))]
    return lines, files


def test_a_pickle_without_labels_is_watched_for_drift(installation: Path) -> None:
    data = rows(1200, days=60)
    data.loc[data["asked_at"] > START + timedelta(days=50), "fee"] *= 3
    place, _ = pickled(installation, data[:400])
    data.drop(columns=["churned", "customer"]).to_csv("rows.csv", index=False)

    found = adopt(str(place), "--data", "rows.csv", "--name", "risk")

    assert [(one["version"], one["reason"]) for one in found["versions"]] == [("1", "no labels are known")]
    (problem,) = found["problems"]
    assert problem["kinds"].startswith("drift")
    assert "fee" in problem["reason"]
    spec = load_spec("risk")
    assert (spec.id_column, spec.labelled, spec.task) == ("row_id", False, "binary")


def test_inputs_that_the_table_lacks_are_named(installation: Path) -> None:
    place, _ = pickled(installation, rows(200))
    rows(50).drop(columns="fee").to_parquet("rows.parquet")

    with pytest.raises(ModelFormatError, match="no column fee that the model takes"):
        adopt(str(place), "--data", "rows.parquet", "--target", "churned")
    with pytest.raises(ModelFormatError, match="no model of a known format"):
        adopt("nothing.bin", "--data", "rows.parquet")


def test_a_model_behind_mlflow_models_serve_is_asked_over_http(installation: Path) -> None:
    data = rows(30)
    folder, _ = sklearn_folder(installation, data)
    port, log = free_port(), installation / "serve.log"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "-p", str(port), "-h", "127.0.0.1", "--env-manager", "local"]  # fmt: skip
    # It starts its server by name.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for_mlflow(address, process, log)
        answers = ask(address, data[NUMBERS])
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(30)

    assert answers == classifier(data).predict(data[NUMBERS]).tolist()


def test_an_endpoint_of_the_open_inference_protocol_gets_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """As MLServer's scikit-learn runtime answers: one tensor in, labels and probabilities out."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"name": "churn", "platform": "", "inputs": [], "outputs": []})
        (tensor,) = json.loads(request.content)["inputs"]
        asked.append(tensor)
        count, _ = tensor["shape"]
        shares = [0.25, 0.75] * count
        outputs = [
            {"name": "predict", "shape": [count, 1], "datatype": "INT64", "data": [1] * count},
            {"name": "predict_proba", "shape": [count, 2], "datatype": "FP64", "data": shares},
        ]
        return httpx.Response(200, json={"model_name": "churn", "outputs": outputs})

    real = httpx.Client
    monkeypatch.setattr(
        httpx, "Client", lambda **options: real(transport=httpx.MockTransport(answer), **options)
    )
    frame = rows(3)[NUMBERS]

    answers = ask("http://models.example/v2/models/churn", frame)

    assert answers == [[0.25, 0.75]] * 3
    assert (asked[0]["shape"], asked[0]["data"]) == ([3, 2], frame.to_numpy().ravel().tolist())


def test_a_log_of_predictions_with_labels_of_text_is_watched_as_it_is(installation: Path) -> None:
    data = rows(900, days=60)
    place, scores = pickled(installation, data)
    log = data.assign(score=scores[:, 1], release="7", churned=np.where(data["churned"] == 1, "yes", "no"))
    log.to_parquet("log.parquet")

    found = adopt(
        *(
            str(place),
            "--data",
            "log.parquet",
            "--target",
            "churned",
            "--prediction",
            "score",
            "--version",
            "release",
        ),
        *("--name", "risk", "--delay", "3d"),
    )

    assert (found["windows"] > 0, found["problems"]) == (True, [])
    assert found["versions"][0]["decision"]["rows"] == 900
    spec = load_spec("risk")
    assert spec.watch is not None
    assert (spec.watch.prediction, spec.watch.version, spec.label.delay) == (
        "score",
        "release",
        timedelta(days=3),
    )
    assert spec.source.path == str(installation / "log.parquet")  # type: ignore[union-attr]
