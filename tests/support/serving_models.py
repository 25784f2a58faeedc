"""What the serving tests share: a small model to publish, a real server, and a wire that can be cut."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pandas as pd
import uvicorn

from evermodel.core.settings import Settings
from evermodel.data.dtypes import feature_frame
from evermodel.modeling import model_store
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.onnx.export_if_equal import keep_if_same
from evermodel.registry import tracking
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.traffic_plan import Arm, TrafficPlan
from evermodel.spec import ModelSpec, load_spec
from support.prediction_logs import log_rows

SPEC = """
name: {name}
source: {{kind: files, path: /nowhere/data.parquet}}
time_column: at
id_column: id
label: {{column: late}}
features: {{numeric: [temp, wind], categorical: [carrier]}}
candidates:
  - {{name: logistic, estimator: sklearn.linear_model.LogisticRegression}}
  - {{name: trees, estimator: sklearn.ensemble.HistGradientBoostingClassifier, params: {{max_iter: 5}}}}
serving: {{max_rows: 50}}
"""


@dataclass(frozen=True)
class Published:
    """A registered version and the pipeline it was made of."""

    version: str
    pipeline: Any
    spec: ModelSpec

    def scores(self, rows: list[dict[str, Any]]) -> list[float]:
        frame = feature_frame(self.spec, pd.DataFrame(rows, columns=self.spec.features.names))
        scores: list[float] = self.pipeline.predict_proba(frame)[:, 1].tolist()
        return scores


@dataclass
class World:
    """One model in a real registry, with folders of its own."""

    settings: Settings
    name: str
    client: Any
    published: dict[str, Published] = field(default_factory=dict)

    @property
    def spec(self) -> ModelSpec:
        return load_spec(self.name, self.settings)

    def publish(
        self,
        seed: int,
        *,
        promote: bool = True,
        candidate: int = 0,
        pipeline: Any = None,
        graph: bool = True,
    ) -> Published:
        """Train on data of this seed and register; the labels differ by seed, so the versions' answers do."""
        data = example_rows(300, seed)
        frame = feature_frame(self.spec, data)
        label = (data["wind"].to_numpy() * (1 if seed % 2 else -1) + seed * 0.1 > 0).astype(int)
        fitted = pipeline or build_pipeline(self.spec, self.spec.candidates[candidate])
        fitted.fit(frame, label)
        run = self.client.create_run(tracking.experiment_id(self.client, self.name))
        scores = fitted.predict_proba(frame)[:, 1]
        uri = model_store.log_model(self.client, run.info.run_id, fitted, frame, scores, ["scikit-learn"])
        if graph:
            keep_if_same(self.client, uri, fitted, frame)
        return self.register(uri, run.info.run_id, fitted, seed, promote=promote)

    def register(self, uri: str, run_id: str, fitted: Any, seed: int, *, promote: bool = True) -> Published:
        key = f"key-{seed}"
        version = (
            ModelRegistry(self.client).register(self.name, key, source=uri, run_id=run_id, tags={}).version
        )
        made = Published(str(version), fitted, self.spec)
        self.published[made.version] = made
        if promote:
            self.promote(made.version)
        return made

    def promote(self, version: str) -> None:
        registry, key = ModelRegistry(self.client), f"promotion-{time.monotonic_ns()}"
        with registry.holding(self.name) as held:
            champion = held.entry.champion
            registry.promote(held, version, expected=champion, by="test", reason="test", run_key=key)

    def through(self, tracking_uri: str) -> Settings:
        return self.settings.model_copy(update={"tracking_uri": tracking_uri})

    def logged(self) -> pd.DataFrame:
        return log_rows(self.settings.lake, self.name).to_pandas()


def example_rows(count: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "temp": rng.normal(size=count),
            "wind": rng.normal(size=count),
            "carrier": rng.choice(["AA", "BB", "CC"], count).astype(object),
        }
    )
    data.loc[0, ["temp", "carrier"]] = [None, None]
    return data


def request_rows(count: int, seed: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(example_rows(count, seed).to_json(orient="records"))
    return rows


def plan_for(
    world: World, champion: Published, challenger: Published, arms: tuple[Arm, ...], **fields: Any
) -> TrafficPlan:
    """Write the first revision of a plan."""
    moment = "2026-03-01T00:00:00+00:00"
    given = {
        "strategy": "canary",
        "salt": "salt",
        "run_key": "rollout",
        "by": "test",
        "reason": "test",
        **fields,
    }
    plan = TrafficPlan(
        model=world.name,
        champion=champion.version,
        challenger=challenger.version,
        arms=arms,
        **{"since": moment, "step_since": moment, **given},
    )
    return ModelRegistry(world.client).write_plan(
        plan, after=ModelRegistry(world.client).read(world.name).plan
    )


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain until {what}")
        time.sleep(0.02)


def wait_for_version(client: httpx.Client, version: str) -> None:
    wait_until(lambda: client.get("/models").json()[0]["version"] == version, f"version {version} answers")


@contextmanager
def running(app: Any) -> Iterator[httpx.Client]:
    """Serve an app with a real uvicorn on a free port; leaving ends it as SIGTERM would."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started, "uvicorn listens")
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(30)


class Wire:
    """A TCP forwarder to the MLflow server that can be cut and mended."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._open: list[socket.socket] = []
        self._port = 0
        self.mend()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                here, _ = listener.accept()
                there = socket.create_connection(self._target)
                self._open += [here, there]
                for source, sink in ((here, there), (there, here)):
                    threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


def model_folder(settings: Settings, name: str) -> Path:
    return settings.model_cache / name
