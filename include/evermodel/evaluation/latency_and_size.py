"""Latency on the serving path, throughput and size of a model."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from evermodel.core.errors import ModelFormatError
from evermodel.evaluation.decision import Gate
from evermodel.evaluation.evaluated_model import ANSWER_ERRORS, EvaluatedModel
from evermodel.modeling.model_store import LoadedModel
from evermodel.modeling.scoring.batcher import Batcher
from evermodel.modeling.scoring.loaded_version import ServedModel, make_served
from evermodel.modeling.scoring.request_rows import Row
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.modeling.onnx.encoding import FastPath
    from evermodel.modeling.tasks import FittedPipeline

_CALLS = 300  # single rows; the slowest three of them make up the p99
_WARM_UP = 10
_BATCHES = 5


@dataclass(frozen=True)
class Speed:
    """Milliseconds of one row alone, and rows a second when they come in the largest request."""

    p50_ms: float
    p99_ms: float
    rows_per_second: float


def cost_gates(spec: ModelSpec, challenger: EvaluatedModel, features: pd.DataFrame) -> Iterator[Gate]:
    """Compare latency, throughput and size with the spec's limits.

    Parameters
    ----------
    challenger
        The model on trial; its graph is what is timed, if it has one.
    """
    gate = spec.gate
    if gate.max_latency_ms or gate.max_latency_p99_ms or gate.min_rows_per_second:
        try:
            speed = measure_speed(spec, challenger.pipeline, features, challenger.fast)
        except (ModelFormatError, *ANSWER_ERRORS) as error:
            yield Gate("serving path", "fail", None, "answers", f"serving fails: {error}")
        else:
            yield from _speed_gates(spec, speed)
    most = gate.max_size_mb
    if most is not None:
        size = challenger.size_bytes / 1e6
        fine = math.isfinite(size) and size <= most
        yield Gate("size", "pass" if fine else "fail", size, f"≤ {most} MB", f"{size:.2f} MB stored")


def measure_speed(
    spec: ModelSpec, pipeline: FittedPipeline, features: pd.DataFrame, fast: FastPath | None = None
) -> Speed:
    """Time a model on the serving path: the app's queue, thread and prediction call, without HTTP.

    Raises
    ------
    ModelFormatError
        The model cannot be served.
    """
    inputs = [
        {"name": name, "type": "double" if name in spec.features.numeric else "string"}
        for name in spec.features.names
    ]
    served = make_served(spec, "challenger", LoadedModel(pipeline, features.head(5), inputs, fast))
    most = spec.serving.max_rows
    values = features.head(most)[list(served.inputs.names)].itertuples(index=False, name=None)
    rows: list[Row] = list(islice(cycle(list(values)), most))
    batcher = Batcher(most)
    batcher.start()
    try:
        singles = _timed(batcher, served, [[rows[i % len(rows)]] for i in range(_WARM_UP + _CALLS)])[
            _WARM_UP:
        ]
        batches = _timed(batcher, served, [rows] * (_BATCHES + 1))[1:]
    finally:
        batcher.stop()
    p50, p99 = np.quantile(singles, [0.5, 0.99])
    return Speed(float(p50) * 1000, float(p99) * 1000, most / float(np.median(batches)))


def _timed(batcher: Batcher, served: ServedModel, requests: list[list[Row]]) -> list[float]:
    spent = []
    for request in requests:
        start = time.perf_counter()
        batcher.submit(served, request).result()
        spent.append(time.perf_counter() - start)
    return spent


def _speed_gates(spec: ModelSpec, speed: Speed) -> Iterator[Gate]:
    for name, value, limit in (
        ("latency p50", speed.p50_ms, spec.gate.max_latency_ms),
        ("latency p99", speed.p99_ms, spec.gate.max_latency_p99_ms),
    ):
        if limit is not None:
            detail = f"one row: {value:.2f} ms, over {_CALLS} sequential requests, without HTTP"
            yield Gate(name, "pass" if value <= limit else "fail", value, f"≤ {limit} ms", detail)
    least = spec.gate.min_rows_per_second
    if least is not None:
        value = speed.rows_per_second
        detail = f"{value:.0f} rows a second in requests of {spec.serving.max_rows} rows, without HTTP"
        yield Gate("throughput", "pass" if value >= least else "fail", value, f"≥ {least:g} rows/s", detail)
