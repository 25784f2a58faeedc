"""One-row requests from 32 clients: the serving app's three protocols, and ``mlflow models serve``, one worker each."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson

from benchmarks.load import Load, put_under_load
from benchmarks.outcome import Outcome
from benchmarks.published import NUMERIC, Published, published, rows_of
from evermodel.cli.local_stack.ports import free_port
from evermodel.cli.local_stack.processes import Service

CLIENTS = 32
_OURS, _V2, _INVOCATIONS = "evermodel serve /predict", "evermodel serve V2", "evermodel serve /invocations"
_THEIRS = "mlflow models serve"
_PATHS = {
    _OURS: "/predict",
    _V2: "/v2/models/bench/infer",
    _INVOCATIONS: "/invocations",
    _THEIRS: "/invocations",
}


def run(small: bool) -> Outcome:
    """Measure all alternately, with the request validation of each switched on."""
    rounds, seconds = (1, 1.0) if small else (3, 8.0)
    with tempfile.TemporaryDirectory() as folder, published(Path(folder), 20 if small else 100) as world:
        version = world.publish(1)
        ports = dict.fromkeys((_OURS, _V2, _INVOCATIONS), free_port()) | {_THEIRS: free_port()}
        world.supervisor.start(_services(world, version, ports))
        bodies = _bodies()
        loads: dict[str, list[Load]] = {name: [] for name in ports}
        for _ in range(rounds):
            for name, port in ports.items():
                load = put_under_load(port, _PATHS[name], bodies[name], clients=CLIENTS, seconds=seconds)
                loads[name].append(load)
    return _outcome(loads)


def _services(world: Published, version: str, ports: dict[str, int]) -> list[Service]:
    ours = (sys.executable, "-m", "evermodel.cli", "serve", "bench", "--port", str(ports[_OURS]))
    theirs = (
        *(sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", f"models:/bench/{version}"),
        *("--env-manager", "local", "--host", "127.0.0.1", "--port", str(ports[_THEIRS]), "--workers", "1"),
    )
    # It starts its server by name.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    their_environment = {**world.environment, "PATH": path}
    return [
        Service("ours", ours, world.environment, f"http://127.0.0.1:{ports[_OURS]}/ready"),
        Service("theirs", theirs, their_environment, f"http://127.0.0.1:{ports[_THEIRS]}/health"),
    ]


def _bodies() -> dict[str, list[bytes]]:
    import json

    rows = json.loads(rows_of(640, seed=7).to_json(orient="records"))
    records = [orjson.dumps({"dataframe_records": [row]}) for row in rows]
    return {
        _OURS: [orjson.dumps({"rows": [row]}) for row in rows],
        _V2: [orjson.dumps({"inputs": _tensors(row)}) for row in rows],
        _INVOCATIONS: records,
        _THEIRS: records,
    }


def _tensors(row: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": [1], "datatype": "FP64" if name in NUMERIC else "BYTES", "data": [value]}
        for name, value in row.items()
    ]


def _outcome(loads: dict[str, list[Load]]) -> Outcome:
    def median(name: str, figure: str) -> float:
        values = sorted(
            load.per_second if figure == "rps" else load.quantile(0.5 if figure == "p50" else 0.99)
            for load in loads[name]
        )
        return values[len(values) // 2]

    found = {(name, figure): median(name, figure) for name in loads for figure in ("rps", "p50", "p99")}
    failures = {name: sum(load.failures for load in measured) for name, measured in loads.items()}
    return Outcome(
        peer=_THEIRS,
        ratios={
            "throughput_vs_mlflow_32": found[_OURS, "rps"] / found[_THEIRS, "rps"],
            "p99_vs_mlflow_32": found[_THEIRS, "p99"] / found[_OURS, "p99"],
            "v2_throughput_vs_predict": found[_V2, "rps"] / found[_OURS, "rps"],
            "invocations_throughput_vs_predict": found[_INVOCATIONS, "rps"] / found[_OURS, "rps"],
        },
        figures={
            "requests_per_second": found[_OURS, "rps"],
            "p50_ms": found[_OURS, "p50"],
            "p99_ms": found[_OURS, "p99"],
            "peer_requests_per_second": found[_THEIRS, "rps"],
            "peer_p99_ms": found[_THEIRS, "p99"],
            "failed_requests": sum(failures.values()) - failures[_THEIRS],
        },
        header=("server", "requests/s", "p50 ms", "p99 ms", "failed"),
        rows=[
            (
                name,
                f"{found[name, 'rps']:,.0f}",
                f"{found[name, 'p50']:.1f}",
                f"{found[name, 'p99']:.1f}",
                str(failures[name]),
            )
            for name in loads
        ],
        notes=[
            f"{CLIENTS} clients, one row a request (12 numbers, 8 categories), one worker each, medians of the rounds. "
            "Histogram boosting, 100 trees. Ours also writes its prediction log; V2 is by JSON. The clients share the machine."
        ],
    )
