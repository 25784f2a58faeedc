"""The edge of the serving app alone: real requests to versions that answer, throw, hang or talk nonsense at will."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.testclient import TestClient

from evermodel.core.settings import Settings
from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.serving.fallback import Fallbacks
from evermodel.serving.fallback_rules import inputs_of
from evermodel.serving.metrics import Metrics
from evermodel.serving.middleware import FastRoute, RequestIds
from evermodel.serving.online_features import OnlineFeatures
from evermodel.serving.predict import PredictionService
from evermodel.serving.prediction_writer import PredictionLog
from evermodel.serving.protocols.addresses import Addresses
from evermodel.serving.routing_table import Traffic
from evermodel.spec import ModelSpec
from support.small_spec import small_spec

RELEASED = threading.Event()  # lets go what hangs
NOW = datetime(2024, 3, 7, 12, 30, tzinfo=UTC)  # of looked-up features
ROW = {"amount": 1.0, "age": 2.0, "colour": "crimson"}
BODY = {"rows": [ROW, {**ROW, "amount": None}]}


@dataclass
class Graph:
    """Stands where a version's graph stands, and does what it is told."""

    score: float = 0.25
    does: Callable[[], None] = lambda: None
    asked: int = 0
    engine: str = "onnx"

    def answer(self, rows: list[Any]) -> Any:
        self.asked += 1
        self.does()
        return np.full((len(rows), 1), self.score)


@dataclass
class StubReconciler:
    """Stands in for the reconciler of a model."""

    spec: ModelSpec
    traffic: Traffic | None
    status: Any = field(default_factory=lambda: SimpleNamespace(last_error="the registry does not answer"))


@dataclass
class Edge:
    """An app of one model, ``small``: version 7 answers, and version 6 did before."""

    folder: Path
    sections: dict[str, Any]
    loaded: bool = True
    flush_seconds: float = 5.0
    beside: dict[str, Any] = field(default_factory=dict)
    feature_store: str = ""
    spec: ModelSpec = field(init=False)
    now: Graph = field(default_factory=Graph)
    before: Graph = field(default_factory=lambda: Graph(0.5))
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self.spec = small_spec(serving=self.sections, **self.beside)
        self.log = PredictionLog(self.folder, self.metrics, flush_seconds=self.flush_seconds)
        self.fallbacks = Fallbacks({"small": self.spec}, self.metrics)
        self.champion = self._version("7", self.now)
        traffic = Traffic(self.champion, previous=self._version("6", self.before)) if self.loaded else None
        self.reconcilers: Any = {"small": StubReconciler(self.spec, traffic)}
        environ = {"EVERMODEL_HOME": str(self.folder / "home"), "EVERMODEL_FEATURE_STORE": self.feature_store}
        settings = Settings.from_environment(environ)
        self.lookups = OnlineFeatures([self.spec], settings, self.metrics, lambda: NOW)
        self.service = PredictionService(
            self.reconcilers, self.fallbacks, self.lookups, self.log, self.metrics, access_log=True
        )

    def _version(self, number: str, graph: Any) -> ServedModel:
        return ServedModel(self.spec, number, None, inputs_of(self.spec), ROW, graph)

    def forget_champion(self) -> None:
        """Keep version 7 in memory no longer."""
        self.reconcilers["small"].traffic = None
        del self.champion

    def app(self) -> Any:
        return RequestIds(FastRoute(FastAPI(), self.service, Addresses("small", "small")))

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, {"model": "small", **labels}) or 0.0

    def logged(self) -> list[dict[str, Any]]:
        import pyarrow.parquet as pq

        files = sorted(self.folder.glob("small/date=*/*.parquet"))
        return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


@contextmanager
def running_edge(
    folder: Path,
    *,
    loaded: bool = True,
    flush_seconds: float = 5.0,
    beside: dict[str, Any] | None = None,
    feature_store: str = "",
    **serving: Any,
) -> Iterator[tuple[Edge, TestClient]]:
    """Run the app in this process; leaving writes the prediction log."""
    made = Edge(folder, serving, loaded, flush_seconds, beside or {}, feature_store)
    made.fallbacks.start()
    made.lookups.start()
    made.log.start()
    RELEASED.clear()
    try:
        with TestClient(made.app()) as client:  # one event loop for all requests, as a server has
            yield made, client
    finally:
        RELEASED.set()
        made.fallbacks.stop()
        made.lookups.stop()
        made.log.stop()


Edges = Callable[..., AbstractContextManager[tuple[Edge, TestClient]]]


def throw() -> None:
    raise ValueError("could not convert string to float: 'crimson'")


def hang() -> None:
    RELEASED.wait(30)
