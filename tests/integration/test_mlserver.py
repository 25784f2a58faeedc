"""A real MLServer, in an environment of its own: a model behind it is asked for probabilities."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import httpx
import joblib
import numpy as np
import pytest

from evermodel.cli.local_stack.ports import free_port
from evermodel.modeling.foreign.model import ForeignModel
from support.foreign_models import NUMBERS, classifier, rows
from support.fresh_environment import FreshEnvironment

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]


def test_a_model_behind_mlserver_gives_its_probabilities(tmp_path: Path) -> None:
    import pyarrow as pa

    data = rows(50)
    environment = FreshEnvironment(tmp_path / "environment", "3.11", tmp_path)
    environment.install("mlserver", "mlserver-sklearn")
    model, port = classifier(data).steps[-1][1], free_port()  # it gets arrays without names
    joblib.dump(model, tmp_path / "model.joblib")
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "parallel_workers": 0}  # fmt: skip
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    served = {"name": "churn", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}}  # fmt: skip
    (tmp_path / "model-settings.json").write_text(json.dumps(served))
    with (tmp_path / "server.log").open("wb") as output:
        process = subprocess.Popen(
            [environment.programs / "mlserver", "start", "."],
            cwd=tmp_path,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}/v2/models/churn"
    try:
        _wait(address, process)
        answers = ForeignModel(address).answers(pa.Table.from_pandas(data[NUMBERS], preserve_index=False))
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)

    np.testing.assert_allclose(answers, model.predict_proba(data[NUMBERS].to_numpy()))


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{address}/ready", trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError("MLServer did not start")
