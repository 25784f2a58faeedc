"""One hostile client: what its worst requests cost the event loop, and what the others notice of it."""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import orjson
from tests.simulations.hostile_requests import hostile_requests, post, send_alone

from benchmarks.load import Load, put_under_load
from benchmarks.outcome import Outcome
from benchmarks.published import Published, published, rows_of
from evermodel.cli.local_stack.ports import free_port
from evermodel.cli.local_stack.processes import Service

CLIENTS, PER_SECOND = 32, 500.0
WORST = 6  # kinds of which the hostile client sends one after the other
_CALM = "an ordinary request"


class Cost(NamedTuple):
    """The milliseconds of one request, of the event loop's thread and of the whole process."""

    loop: float
    process: float


def run(small: bool) -> Outcome:
    """Measure each kind alone, then a calm app and the same app under the worst kinds, alternately."""
    repeats, rounds, seconds = (2, 1, 1.0) if small else (10, 5, 8.0)
    with tempfile.TemporaryDirectory() as folder, published(Path(folder), 20 if small else 100) as world:
        world.publish(1)
        port = free_port()
        command = (sys.executable, "-m", "evermodel.cli", "serve", "bench", "--port", str(port))
        world.supervisor.start(
            [Service("ours", command, world.environment, f"http://127.0.0.1:{port}/ready")]
        )
        rows = json.loads(rows_of(640, seed=7).to_json(orient="records"))
        full = next(row for row in rows if None not in row.values())
        kinds = {
            _CALM: post("/predict", orjson.dumps({"rows": [full]})),
            **hostile_requests(full, model="bench"),
        }
        costs = _costs(_loop_thread(world), port, kinds, repeats)
        worst = sorted(kinds, key=lambda kind: -max(costs[kind]))[:WORST]
        bodies = [orjson.dumps({"rows": [row]}) for row in rows]
        loads: dict[str, list[Load]] = {"calm": [], "attacked": []}
        for _ in range(rounds):
            loads["calm"].append(_load(port, bodies, seconds))
            with _Attack(port, [kinds[kind] for kind in worst]):
                loads["attacked"].append(_load(port, bodies, seconds))
    return _outcome(costs, worst, loads)


def _loop_thread(world: Published) -> Path:
    """Return where the system counts the time of the threads; the first is that of the event loop."""
    record = json.loads((world.settings.home / "services.json").read_text())
    return Path(f"/proc/{record['ours']}/task")


def _costs(tasks: Path, port: int, kinds: dict[str, bytes], repeats: int) -> dict[str, Cost]:
    first = tasks / tasks.parent.name

    def used() -> tuple[int, int]:
        return _nanoseconds(first), sum(map(_nanoseconds, tasks.iterdir()))

    costs = {}
    for kind, request in kinds.items():
        found = []
        for _ in range(repeats):
            before = used()
            send_alone(port, request)
            time.sleep(0.005)
            found.append(Cost(*((b - a) / 1e6 for a, b in zip(before, used(), strict=True))))
        costs[kind] = Cost(*(sorted(values)[len(values) // 2] for values in zip(*found, strict=True)))
    return costs


def _nanoseconds(thread: Path) -> int:
    try:
        return int((thread / "schedstat").read_text().split()[0])
    except OSError:  # it has ended
        return 0


def _load(port: int, bodies: list[bytes], seconds: float) -> Load:
    return put_under_load(
        port, "/predict", bodies, clients=CLIENTS, seconds=seconds, warm_up=0.5, per_second=PER_SECOND
    )


class _Attack:
    """A process that sends requests, each on a connection of its own, one after the other, while the block runs."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._process = spawn.Process(target=_send_all, args=(port, requests), daemon=True)

    def __enter__(self) -> None:
        self._process.start()
        time.sleep(2)  # it imports this module

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        self._process.join()


def _send_all(port: int, requests: list[bytes]) -> None:
    while True:
        for request in requests:
            send_alone(port, request)


def _outcome(costs: dict[str, Cost], worst: list[str], loads: dict[str, list[Load]]) -> Outcome:
    def median(name: str, share: float) -> float:
        values = sorted(load.quantile(share) for load in loads[name])
        return values[len(values) // 2]

    # The two loads of a round follow each other, so that a slow minute of the machine counts for both.
    pairs = zip(loads["calm"], loads["attacked"], strict=True)
    slower = sorted(attacked.quantile(0.99) / calm.quantile(0.99) for calm, attacked in pairs)
    failed = {name: sum(load.failures for load in found) for name, found in loads.items()}
    by_cost = sorted(costs, key=lambda kind: -costs[kind].loop)
    return Outcome(
        peer="the same app without a hostile client",
        ratios={"p99_calm_vs_attacked": 1 / slower[len(slower) // 2]},
        figures={
            "worst_request_ms": costs[by_cost[0]].loop,
            "ordinary_request_ms": costs[_CALM].loop,
            "p99_attacked_vs_calm": slower[len(slower) // 2],
            "largest_p99_attacked_vs_calm": slower[-1],
            "calm_p99_ms": median("calm", 0.99),
            "attacked_p99_ms": median("attacked", 0.99),
            "failed_requests": failed["calm"] + failed["attacked"],
        },
        header=("request, or load of the others", "event loop ms", "process ms", "p50 ms", "p99 ms"),
        rows=[
            *((kind, f"{costs[kind].loop:.2f}", f"{costs[kind].process:.2f}", "", "") for kind in by_cost),
            *((name, "", "", f"{median(name, 0.5):.1f}", f"{median(name, 0.99):.1f}") for name in loads),
        ],
        notes=[
            f"CPU time of one request with its connection, median. The load is {CLIENTS} clients with {PER_SECOND:.0f} requests a second, one row each, "
            f"timed from when they were due. The hostile client sends the {WORST} kinds that cost most: {', '.join(worst)}. All share the machine."
        ],
    )
