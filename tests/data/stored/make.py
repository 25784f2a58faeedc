"""Make the archive of what a release stores: models, registry, lake, queue, reports.

Run it with the release's own code, from a checkout of it; the command line and the serving app are all that it uses:

    cd <checkout of the release> && .venv/bin/python <this file> <archive to write>.tar.xz

No path, host or user of the machine gets into the archive: they become `@WORLD@`, `@CODE@` and `host`. MLflow's database
is kept as SQL, because the addresses of artifacts in it are absolute.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
HOST = "host"
SPEC: dict[str, Any] = {
    "description": "Will a flight out of New York arrive more than 15 minutes late?",
    "owner": "data-science",
    "task": "binary",
    "source": {"kind": "files", "path": "${EVERMODEL_DATA}/flights.parquet"},
    "time_column": "scheduled_at",
    "id_column": "flight_id",
    "label": {"column": "late", "delay": "1d"},
    "features": {
        "numeric": ["hour", "distance", "temp", "humid", "seats"],
        "categorical": ["carrier", "origin"],
    },
    "split": {"train": "4w", "validation": "1w", "test": "1w"},
    "candidates": [
        {
            "name": "boosted_trees",
            "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
            "params": {"max_iter": 8, "max_leaf_nodes": 7},
        }
    ],
    "training": {"calibrate": "sigmoid"},
    "validation": {"min_rows": 200},
    "gate": {"metric": "roc_auc", "floor": 0.5, "margin": 0.5, "resamples": 200},
    "drift": {"window": "7d", "min_rows": 50},
    "retrain": {"when": "critical"},
    "alerts": {"slack_connection": "slack_api_default", "channel": "#ml-alerts"},
}
LINEAR = {
    "name": "logistic",
    "estimator": "sklearn.linear_model.LogisticRegression",
    "params": {"C": 0.1, "max_iter": 1000},
}
DERIVED = {
    "module": "stored_features",
    "derived_numeric": ["log_distance"],
    "derived_categorical": ["route"],
}
# `flights` derives features by a module of its own; `plain` has an ONNX graph, days kept in the lake and a canary.
FLIGHTS: dict[str, Any] = {
    **SPEC,
    "name": "flights",
    "features": {**SPEC["features"], **DERIVED},
    "candidates": [*SPEC["candidates"], LINEAR],
}
PLAIN: dict[str, Any] = {**SPEC, "name": "plain", "source": {**SPEC["source"], "late": "3d"}}
CANARY = {"strategy": "canary", "canary": {"steps": [0.3, 0.6], "bake": "1h"}, "guard": {"min_requests": 10}}
# A Slack that does not answer: what is told meanwhile waits in the queue.
NO_SLACK = '{"conn_type": "slack", "password": "xoxb-none", "extra": {"base_url": "http://127.0.0.1:9/api/"}}'


class Release:
    """A folder that one release writes into by its command line and its serving app."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "AIRFLOW_HOME": str(folder / "airflow"),
            "EVERMODEL_HOME": str(folder / "home"),
            "EVERMODEL_LAKE": str(folder / "lake"),
            "EVERMODEL_MODELS": str(folder / "models"),
            "EVERMODEL_DATA": str(folder / "data"),
            "EVERMODEL_DVC_REMOTE": str(folder / "dvc-remote"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "PYTHONPATH": str(HERE),
            "LOGNAME": "somebody",
            "OMP_NUM_THREADS": "1",
            "DO_NOT_TRACK": "1",
        }
        for name in ("models", "data"):
            (folder / name).mkdir(parents=True)

    def spec(self, spec: dict[str, Any], **sections: Any) -> None:
        text = yaml.safe_dump({**spec, **sections}, sort_keys=False)
        (self.folder / "models" / f"{spec['name']}.yaml").write_text(text)

    def run(self, *arguments: str, may_exit: tuple[int, ...] = (0,), **environment: str) -> str:
        print("evermodel", *arguments, flush=True)
        command = [sys.executable, "-m", "evermodel.cli", *arguments]
        known = {**os.environ, **self.environment, **environment}
        done = subprocess.run(
            command, cwd=self.folder, env=known, capture_output=True, text=True, check=False
        )
        if done.returncode not in may_exit:
            raise SystemExit(f"{done.stdout}\n{done.stderr}")
        return done.stdout

    def serve(self, *models: str) -> None:
        """Serve some rows of the source, so that a log, reports and the cache of models are written."""
        code = (
            f"import sys; sys.path.insert(0, {str(HERE)!r}); from make import serve; serve({list(models)!r})"
        )
        known = {**os.environ, **self.environment}
        subprocess.run([sys.executable, "-c", code], cwd=self.folder, env=known, check=True)

    def settle(self) -> None:
        """Date the prediction log by whole seconds: daily profiles know their files by time, which tar rounds."""
        for file in (self.folder / "lake" / "predictions").glob("*/*/*.parquet"):
            os.utime(file, (int(file.stat().st_mtime),) * 2)


def serve(models: list[str]) -> None:
    socket.gethostname = lambda: HOST
    import pandas as pd
    from fastapi.testclient import TestClient

    from evermodel.serving.app import create_app

    names = [*SPEC["features"]["numeric"], *SPEC["features"]["categorical"]]
    rows = pd.read_parquet(Path(os.environ["EVERMODEL_DATA"]) / "flights.parquet", columns=names)[-40:]
    answers: list[dict[str, Any]] = []
    with TestClient(create_app(models, poll_seconds=0.2)) as client:
        deadline = time.monotonic() + 60
        while client.get("/ready").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        for model in models:
            for row in json.loads(rows.to_json(orient="records")):
                answer = client.post(f"/models/{model}/predict", json={"row": row})
                if answer.status_code != 200:
                    raise SystemExit(answer.text)
                answers.append({"row": row, **answer.json()})
        time.sleep(6)  # the log and the reports are written every few seconds
    Path("-".join(["served", *models]) + ".json").write_text(json.dumps(answers, indent=1))


def write_data(file: Path) -> None:
    """Keep the first twelve weeks of the committed sample; the last three are much drier than before."""
    import pandas as pd

    rows = pd.read_parquet(HERE.parent / "flights_sample.parquet")
    rows = rows[rows["scheduled_at"] < pd.Timestamp("2013-03-26", tz="UTC")]
    late = rows["scheduled_at"] >= pd.Timestamp("2013-03-05", tz="UTC")
    rows.loc[late, "humid"] = rows.loc[late, "humid"] / 2
    names = [*SPEC["features"]["numeric"], *SPEC["features"]["categorical"]]
    rows[["flight_id", "scheduled_at", *names, "late"]].to_parquet(file, index=False)


def live(release: Release) -> None:
    write_data(release.folder / "data" / "flights.parquet")
    release.spec(FLIGHTS)
    release.spec(PLAIN)
    for model in ("flights", "plain"):
        release.run("train", model, "--as-of", "2013-02-18")
    release.run("train", "flights", "--as-of", "2013-02-25")
    release.run("score", "flights", "--from", "2013-02-25", "--to", "2013-02-28")
    release.serve("flights")
    release.run("rollback", "flights", "--reason", "callers complain")
    release.run("score", "flights", "--from", "2013-03-01", "--to", "2013-03-11")
    release.run("score", "plain", "--from", "2013-03-01", "--to", "2013-03-11")
    release.spec(PLAIN, rollout=CANARY)
    release.run("train", "plain", "--as-of", "2013-02-25")
    release.serve("flights", "plain")
    release.run("rollout", "advance", "plain")
    release.settle()
    release.spec(FLIGHTS, approval="manual")
    release.run("train", "flights", "--as-of", "2013-03-04", may_exit=(0, 3))
    release.run(
        "backtest", "plain", "--start", "2013-02-18", "--end", "2013-03-04", "--policies", "never,weekly",
        "--jobs", "1", "--work", "backtest", "--out", "backtest-report",
    )  # fmt: skip
    for page in ("report.html", "backtest.png"):
        (release.folder / "backtest-report" / page).unlink()
    for model, day in (("flights", "2013-03-05"), ("plain", "2013-03-09"), ("plain", "2013-03-12")):
        release.run("drift", model, "--as-of", day, "--no-report")
    release.run(
        "drift", "flights", "--as-of", "2013-03-12", "--no-report", AIRFLOW_CONN_SLACK_API_DEFAULT=NO_SLACK
    )


def pack(folder: Path, target: Path) -> None:
    database = sqlite3.connect(folder / "mlflow.db")
    (folder / "mlflow.sql").write_text("\n".join(database.iterdump()), encoding="utf-8")
    database.close()
    for left in (*folder.glob("mlflow.db*"), folder / "airflow", folder / "lake" / ".dvc" / "tmp"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    for file in [path for path in folder.rglob("*") if path.is_file()]:
        _clean(file, folder)
    target.unlink(missing_ok=True)
    with tarfile.open(target, "w:xz", preset=9) as archive:
        archive.add(folder, arcname="world", filter=_nobody)


def _clean(file: Path, folder: Path) -> None:
    content, moment = file.read_bytes(), int(file.stat().st_mtime)
    cleaned = content.replace(str(folder).encode(), b"@WORLD@").replace(os.getcwd().encode(), b"@CODE@")
    if cleaned != content:
        cleaned.decode("utf-8")  # nothing binary may hold a path, which cannot be put back
        file.chmod(0o644)
        file.write_bytes(cleaned)
        os.utime(file, (moment, moment))
    named = [str(Path.home()), str(Path(sys.prefix).resolve()), f"{tempfile.gettempdir()}/"]
    found = [word for word in named if word.encode() in cleaned]
    host = re.escape(socket.gethostname())
    with contextlib.suppress(UnicodeDecodeError):  # short names are in any compressed file by chance
        found += re.findall(rf"\b{host}\b", cleaned.decode("utf-8"))
    if found:
        raise SystemExit(f"{file.relative_to(folder)} holds {', '.join(found)}")


def _nobody(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = int(entry.mtime)
    return entry


def main() -> None:
    target = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve() / "world"
        release = Release(folder)
        live(release)
        schema = json.dumps(json.loads(release.run("schema")), separators=(",", ":"))
        pack(folder, target)
        target.with_name(target.name.removesuffix(".tar.xz") + ".schema.json").write_text(f"{schema}\n")
        if len(sys.argv) > 2:
            shutil.copytree(folder, sys.argv[2])
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
