"""One-row requests from 32 clients: the serving app against ``mlflow models serve``, same model, one worker each."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import orjson

from benchmarks.load import Load, put_under_load
from benchmarks.outcome import Outcome
from benchmarks.published import Published, published, rows_of
from evermodel.cli.local_stack.ports import free_port
from evermodel.cli.local_stack.processes import Service

CLIENTS = 32
_OURS, _THEIRS = "evermodel serve", "mlflow models serve"


def run(small: bool) -> Outcome:
    """Measure both alternately, with the request validation of each switched on."""
    rounds, seconds = (1, 1.0) if small else (3, 8.0)
    with tempfile.TemporaryDirectory() as folder, published(Path(folder), 20 if small else 100) as world:
        version = world.publish(1)
        ports = {_OURS: free_port(), _THEIRS: free_port()}
        world.supervisor.start(_services(world, version, ports))
        bodies = _bodies()
        loads: dict[str, list[Load]] = {name: [] for name in ports}
        for _ in range(rounds):
            for name, port in ports.items():
                path = "/predict" if name == _OURS else "/invocations"
                loads[name].append(put_under_load(port, path, bodies[name], clients=CLIENTS, seconds=seconds))
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
    return {
        _OURS: [orjson.dumps({"rows": [row]}) for row in rows],
        _THEIRS: [orjson.dumps({"dataframe_records": [row]}) for row in rows],
    }


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
        },
        figures={
            "requests_per_second": found[_OURS, "rps"],
            "p50_ms": found[_OURS, "p50"],
            "p99_ms": found[_OURS, "p99"],
            "peer_requests_per_second": found[_THEIRS, "rps"],
            "peer_p99_ms": found[_THEIRS, "p99"],
            "failed_requests": failures[_OURS],
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
            "Histogram boosting, 100 trees. Ours also writes its prediction log. The clients share the machine."
        ],
    )
