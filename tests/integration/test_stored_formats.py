"""What earlier releases stored is read and gone on with: models, registry, lake, queue, incidents, rollout, backtest.

`tests/data/stored/README.md` says how the archives were made, and by what.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from evermodel.alerts.incidents.store import incident_history, read_incidents
from evermodel.alerts.publisher import message_queue
from evermodel.cli import app
from evermodel.core.formats import FORMAT, json_digest
from evermodel.core.settings import Settings
from evermodel.core.storage import readable
from evermodel.data.dtypes import feature_frame
from evermodel.modeling import model_store
from evermodel.registry.tags import RUN_KEY, SPEC_DIGEST
from evermodel.registry.tracking import connect, find_run, read_json
from evermodel.reports.overview.store import StoredModel
from evermodel.reports.overview.summary import open_incidents, registered, traffic_plan
from evermodel.serving.app import create_app
from evermodel.spec import load_spec
from evermodel.spec.features import OwnCode
from evermodel.spec.model import json_schema
from support.paths import PROJECT
from support.prediction_logs import log_files

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
near = partial(pytest.approx, rel=1e-12, abs=1e-12)  # another processor rounds some sums otherwise
STORED = PROJECT / "tests" / "data" / "stored"
ARCHIVES = sorted(STORED.glob("*.tar.xz"))


@dataclass
class StoredWorld:
    """The folder of an earlier release, as an upgrade finds it."""

    folder: Path
    settings: Settings

    @property
    def client(self) -> Any:
        return connect(self.settings.tracking_uri)

    def run(self, *arguments: str, exit_code: int | None = 0) -> str:
        done = CliRunner().invoke(app, list(arguments))
        assert exit_code in (done.exit_code, None), f"{done.output}\n{done.exception!r}"
        return done.stdout

    def json(self, *arguments: str, exit_code: int | None = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", exit_code=exit_code))

    def tags(self, model: str) -> dict[str, str]:
        return dict(self.client.get_registered_model(model).tags)

    def served(self, name: str) -> list[dict[str, Any]]:
        """Requests and what the release answered."""
        found: list[dict[str, Any]] = json.loads((self.folder / f"served-{name}.json").read_text())
        return found

    def logged(self, model: str, day: str) -> Path:
        return self.settings.lake / "predictions" / model / f"date={day}" / "batch.parquet"


def differing(found: Any, stored: Any, place: str = "") -> list[str]:
    """Name what is no longer as it was stored: numbers may be rounded otherwise, and there may be new fields."""
    if isinstance(stored, dict) and isinstance(found, dict):
        return [
            line
            for name, value in stored.items()
            for line in differing(found.get(name), value, f"{place}.{name}")
        ]
    if isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        pairs = enumerate(zip(found, stored, strict=True))
        return [line for number, pair in pairs for line in differing(*pair, f"{place}[{number}]")]
    same = found == near(stored, nan_ok=True) if isinstance(stored, float) else found == stored
    return [] if same else [f"{place}: {found!r}, stored {stored!r}"]


@pytest.fixture(params=ARCHIVES, ids=lambda archive: archive.name.partition(".")[0])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredWorld:
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "world"
    _put_path_back(folder)
    places = {
        "AIRFLOW_HOME": folder / "airflow",
        "EVERMODEL_HOME": folder / "home",
        "EVERMODEL_LAKE": folder / "lake",
        "EVERMODEL_MODELS": folder / "models",
        "EVERMODEL_DATA": folder / "data",
        "EVERMODEL_DVC_REMOTE": folder / "dvc-remote",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
    for name, value in places.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(STORED))  # where the module of the models' features is
    monkeypatch.setenv("PYTHONPATH", str(STORED))
    monkeypatch.delitem(sys.modules, "evermodel.user_features", raising=False)
    return StoredWorld(folder, Settings.from_environment())


def _put_path_back(folder: Path) -> None:
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        content = file.read_bytes()
        if b"@WORLD@" in content:
            moment = file.stat().st_mtime
            file.write_bytes(content.replace(b"@WORLD@", str(folder).encode()))
            os.utime(file, (moment, moment))
    database = sqlite3.connect(folder / "mlflow.db")
    database.executescript((folder / "mlflow.sql").read_text(encoding="utf-8"))
    database.close()


def test_there_is_an_archive() -> None:
    assert "343607a.tar.xz" in [archive.name for archive in ARCHIVES]


@pytest.mark.parametrize("schema", sorted(STORED.glob("*.schema.json")), ids=lambda file: file.stem)
def test_every_field_of_an_old_spec_is_known(schema: Path) -> None:
    assert _fields(json.loads(schema.read_text())) <= _fields(json_schema())


def _fields(schema: dict[str, Any]) -> set[str]:
    """Return the paths of all fields of a JSON Schema, and the words that each may hold."""
    found: set[str] = set()

    def walk(node: dict[str, Any], path: str) -> None:
        if "$ref" in node:
            node = {**schema["$defs"][node["$ref"].rpartition("/")[2]], **node}
        for part in (*node.get("anyOf", ()), *node.get("oneOf", ()), *node.get("allOf", ())):
            walk(part, path)
        for name, part in node.get("properties", {}).items():
            found.add(f"{path}.{name}")
            walk(part, f"{path}.{name}")
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                walk(node[key], f"{path}[]")
        found.update(
            f"{path}={word}"
            for word in (*node.get("enum", ()), *({node["const"]} if "const" in node else ()))
        )

    walk(schema, "")
    return found


@pytest.mark.parametrize("model", ["flights", "plain"])
def test_every_version_answers_as_it_did(stored: StoredWorld, model: str) -> None:
    spec, scored = load_spec(model, stored.settings), set()
    for file in sorted(stored.settings.lake.glob(f"predictions/{model}/date=2013-*/batch.parquet")):
        rows = pq.read_table(file, partitioning=None)
        version = rows["model_version"][0].as_py()
        if version not in scored:
            loaded = model_store.load_model(
                stored.client,
                f"models:/{model}/{version}",
                stored.folder / version,
                OwnCode("stored_features"),
            )
            if loaded.fast is not None:  # which answered, if there is one
                scores = loaded.fast.answer_table(rows.select(spec.features.names))[:, 0]
                assert scores.tolist() == near(rows["score"].to_pylist())
            answers = loaded.pipeline.predict_proba(feature_frame(spec, rows))[:, 1]
            assert answers.tolist() == near(rows["score"].to_pylist())
            assert (loaded.fast is not None) == (model == "plain")
            scored.add(version)
    assert scored == ({"1", "2"} if model == "flights" else {"1"})


def test_a_day_scored_again_is_the_same(stored: StoredWorld) -> None:
    for model in ("flights", "plain"):
        file = stored.logged(model, "2013-03-11")
        before = pq.read_table(file, partitioning=None)
        stored.run("score", model, "--as-of", "2013-03-12")
        (again,) = (f for f in log_files(stored.settings.lake, model) if "2013-03-11/source=batch" in str(f))
        after = pq.ParquetFile(readable(again))
        assert differing(after.read().to_pydict(), before.to_pydict()) == []
        assert after.metadata.metadata[b"evermodel.format"] == str(FORMAT).encode()


@pytest.mark.parametrize("registry", ["there", "away"])
def test_requests_are_answered_as_they_were(stored: StoredWorld, registry: str) -> None:
    settings = stored.settings
    if registry == "away":  # the versions and what answered last come from the cache on disk
        settings = settings.model_copy(update={"tracking_uri": "http://127.0.0.1:9"})
    stored.run("rollout", "stop", "plain", "--reason", "upgrade")
    plain = load_spec("plain", settings)
    fast = {v: model_store.load_graph(settings.model_cache / "plain" / v) for v in ("1", "2")}
    told = stored.served("flights-plain")
    with TestClient(create_app(["flights", "plain"], settings, poll_seconds=0.2)) as client:
        assert client.get("/ready").status_code == 200, client.get("/ready").text
        engines = {state["model"]: state["engine"] for state in client.get("/models").json()}
        assert engines == {"flights": "sklearn", "plain": "onnx"}
        for entry in told:
            answer = client.post(f"/models/{entry['model']}/predict", json={"row": entry["row"]}).json()
            for found in (answer, entry) if entry["model"] == "plain" else ():
                row = tuple(
                    np.nan if v is None else v for v in (entry["row"][n] for n in plain.features.names)
                )
                graph = fast[found["version"]]
                assert graph is not None
                assert graph.answer([row])[0][0] == near(found["predictions"][0]["score"])
            if answer["version"] == entry["version"]:
                assert answer["predictions"][0]["score"] == near(entry["predictions"][0]["score"])
    newest = max(log_files(settings.lake, "flights"), key=lambda file: file.stat().st_mtime)
    assert pq.read_metadata(readable(newest)).metadata[b"evermodel.format"] == str(FORMAT).encode()
    assert {(entry["model"], entry["version"]) for entry in told} == {
        ("flights", "1"), ("plain", "1"), ("plain", "2"),
    }  # fmt: skip


def test_drift_goes_on_with_history_incidents_and_queue(stored: StoredWorld) -> None:
    client, queue = stored.client, message_queue(stored.settings)
    before = {model: read_incidents(client, model).of("drift").incident for model in ("flights", "plain")}
    for model in before:
        with (stored.settings.models / f"{model}.yaml").open("a") as spec:
            spec.write("\ncluster: row\nrespond: {together: 'off'}\n")  # as that release counted
    (lane,) = queue.destinations()
    assert [entry.event for _, entry in queue.waiting(lane)] == ["open"]
    profiles = {file: file.stat().st_mtime for file in stored.settings.lake.glob("profiles/*/date=*/*")}
    old = _verdicts(stored)["drift/flights/2013-03-12"]

    again = stored.json("drift", "flights", "--as-of", "2013-03-12", "--no-report", "--no-tell")
    assert again["severity"] == old["severity"] == "critical"
    assert differing(list(map(_measured, again["columns"])), list(map(_measured, old["columns"]))) == []
    assert differing(again["performance"], old["performance"]) == []
    assert all(file.stat().st_mtime == moment for file, moment in profiles.items())  # none was made again

    for model, opened in before.items():
        assert opened is not None
        assert [line.action for line in incident_history(client, model)] == ["open"]
        stored.run("score", model, "--from", "2013-03-12", "--to", "2013-03-13")
        assert stored.json("drift", model, "--as-of", "2013-03-14", "--no-report")["severity"] == "critical"
        goes_on = read_incidents(client, model).of("drift").incident
        assert goes_on is not None
        assert (goes_on.id, goes_on.opened) == (opened.id, opened.opened)
        told = sorted(
            f.parent.name for f in stored.settings.outbox.glob(f"{model}-{opened.id}*/message.json")
        )
        assert told == [f"{model}-{opened.id}", f"{model}-{opened.id}-remind-2013-03-14"]
        assert json.loads(stored.tags(model)["evermodel.incidents"])["format"] == FORMAT
    assert not queue.destinations()


def _verdicts(stored: StoredWorld) -> dict[str, Any]:
    experiment = stored.client.get_experiment_by_name("flights-monitoring").experiment_id
    runs = stored.client.search_runs([experiment])
    return {
        run.data.tags["evermodel.run_key"]: read_json(stored.client, run.info.run_id, "verdict.json")
        for run in runs
    }


def _measured(column: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is said in words."""
    return {name: value for name, value in column.items() if name not in ("summary", "reference")}


def test_a_retrain_is_judged_against_the_old_champion_and_rolled_back(stored: StoredWorld) -> None:
    status = stored.json("status", "flights")
    assert (status["champion"], status["waiting"]) == ("1", "3")
    assert [(line["kind"], line["version"]) for line in status["history"]] == [
        ("promotion", "1"),
        ("promotion", "2"),
        ("rollback", "1"),
    ]
    approved = stored.json("promote", "flights", "3", "--approve", "--reason", "looks good")
    assert approved["version"] == "3"
    assert stored.json("status", "flights")["champion"] == "3"

    done = stored.json("train", "flights", "--as-of", "2013-03-18", "--approve")
    assert (done["version"], done["decision"]["parent"]) == ("4", "3")
    assert done["decision"]["gain"] is not None  # the old champion was scored on the same rows
    # Version 3 is passed over: by the notes in the lake no serving process ever answered with it.
    assert stored.json("rollback", "flights", "--reason", "callers complain")["version"] == "1"
    assert stored.json("rollback", "flights", "--reason", "wrong one", "--to", "3")["version"] == "3"
    history = stored.json("status", "flights")["history"]
    assert [line["version"] for line in history] == ["1", "2", "1", "3", "4", "1", "3"]


def test_a_retrain_that_has_ended_is_read_back(stored: StoredWorld) -> None:
    key = stored.client.get_model_version("plain", "2").tags["evermodel.run_key"]
    done = stored.json("train", "plain", "--as-of", "2013-02-25", "--run-key", key)
    assert (done["version"], done["outcome"], done["again"]) == ("2", "rolling out", True)
    assert len(stored.client.search_model_versions("name = 'plain'")) == 2


def test_a_rollout_under_way_goes_on(stored: StoredWorld) -> None:
    plan = stored.json("rollout", "status", "plain")
    assert (plan["strategy"], plan["state"], plan["challenger"]) == ("canary", "running", "2")
    assert stored.json("rollout", "advance", "plain")["state"] == "running"
    assert stored.json("rollout", "stop", "plain", "--reason", "upgrade")["state"] == "stopped"
    assert json.loads(stored.tags("plain")["evermodel.traffic_plan"])["format"] == FORMAT
    begun = stored.json("rollout", "start", "plain", "2", "--reason", "again")
    assert (begun["state"], begun["revision"]) == ("running", plan["revision"] + 2)


def test_what_is_listed(stored: StoredWorld) -> None:
    runs = stored.json("runs", "flights")
    assert [run["version"] for run in runs if run["version"]] == ["3", "2", "1"]
    snapshots = [line for line in stored.json("data", "list") if line["model"] == "flights"]
    assert [line["versions"] for line in snapshots] == [["1"], ["2"], ["3"]]
    assert all(line["here"] for line in snapshots)
    lost = stored.settings.lake / snapshots[0]["path"]
    lost.unlink()
    stored.run("data", "checkout", "flights", "1")
    assert lost.exists()
    assert "plain" in stored.run("status")


def test_the_models_page_shows_it(stored: StoredWorld) -> None:
    flights, plain = (StoredModel(model, {}, stored.tags(model)) for model in ("flights", "plain"))
    assert [promotion.version for promotion in registered(flights).promotions] == ["1", "2", "1"]
    assert [(incident["kind"], incident["current"]) for incident in open_incidents(flights)] == [
        ("drift", "critical")
    ]
    plan = traffic_plan(plain)
    assert plan is not None
    assert plan.share_of("2") == pytest.approx(0.3)


def test_a_version_is_made_again(stored: StoredWorld) -> None:
    client = stored.client
    run = find_run(client, "flights", client.get_model_version("flights", "1").tags[RUN_KEY], kind="retrain")
    assert run is not None
    # The spec.json of the archive names the folder that it was unpacked into, so its digest is another one.
    digest = json_digest(read_json(client, run.info.run_id, "spec.json"))[:16]
    client.set_model_version_tag("flights", "1", SPEC_DIGEST, digest)
    again = stored.json("reproduce", "flights", "1", exit_code=None)
    assert again["largest_difference"] < 1e-12  # 0 on the kind of processor on which the archive was made


def test_a_backtest_is_read_back(stored: StoredWorld) -> None:
    report = json.loads((stored.folder / "backtest-report" / "backtest.json").read_text())
    shutil.rmtree(stored.folder / "backtest-report")
    stored.run(
        "backtest", "plain", "--start", "2013-02-18", "--end", "2013-03-04", "--policies", "never,weekly",
        "--jobs", "1", "--work", "backtest", "--out", "backtest-report",
    )  # fmt: skip
    again = json.loads((stored.folder / "backtest-report" / "backtest.json").read_text())
    for found in (report, again):  # sentences, and the digest over them, may be worded anew
        del found["digest"]
        del (
            found["result"]["spec"],
            found["fit_seconds"],
        )  # another method, another key: made again, and timed
        for policy in found["result"]["policies"]:
            del policy["verdict"]
            policy.setdefault("reminders", 0)  # counted since
    assert differing(again, {**report, "format": FORMAT}) == []
