"""Promotions, canaries and rollbacks in a row under a constant load: lost requests, mixed answers, what they cost."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from benchmarks.load import Load, put_under_load
from benchmarks.outcome import Outcome
from benchmarks.published import Published, published, rows_of
from evermodel.cli.local_stack.ports import free_port
from evermodel.cli.local_stack.processes import Service
from evermodel.data.dtypes import feature_frame
from evermodel.deployment.rollback import roll_back
from evermodel.modeling.model_store import load_model
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.traffic_plan import TrafficPlan, split

CLIENTS, ROWS, PER_SECOND = 32, 3, 500.0
SHARES = (0.1, 0.5)  # of a canary, before the promotion that ends it
CANARIES = 4  # one promotion in so many begins with a canary


def run(small: bool) -> Outcome:
    """Measure a calm app, then the same app while its champion changes again and again."""
    promotions, rollbacks, calm_seconds = (4, 1, 2.0) if small else (20, 5, 15.0)
    with tempfile.TemporaryDirectory() as folder, published(Path(folder), 20 if small else 100) as world:
        versions = [world.publish(seed, promote=seed == 1) for seed in (1, 2)]
        port = free_port()
        command = ("serve", "bench", "--port", str(port), "--poll-seconds", "0.5")
        service = Service(
            "ours",
            (sys.executable, "-m", "evermodel.cli", *command),
            world.environment,
            f"http://127.0.0.1:{port}/ready",
        )
        world.supervisor.start([service])
        requests = _requests(world, versions, Path(folder))
        with _Traffic(port, requests) as traffic:
            time.sleep(calm_seconds)
        calm = traffic.load
        with _Traffic(port, requests) as traffic:
            _swap(world, port, versions, promotions, rollbacks)
        stormy, mixed = traffic.load, traffic.mixed
    return _outcome(calm, stormy, mixed, promotions, rollbacks)


def _requests(world: Published, versions: list[str], folder: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Return bodies of several rows, each with the scores that either version gives."""
    frame = rows_of(ROWS * 200, seed=7)
    rows = json.loads(frame.to_json(orient="records"))
    scores = {}
    for version in versions:
        model = load_model(world.client, f"models:/bench/{version}", folder / f"copy-{version}")
        scores[version] = model.pipeline.predict_proba(feature_frame(world.spec, frame))[:, 1].tolist()
    return [
        (
            orjson.dumps({"rows": rows[i : i + ROWS]}),
            {version: found[i : i + ROWS] for version, found in scores.items()},
        )
        for i in range(0, len(rows), ROWS)
    ]


class _Traffic:
    """A constant load while the block runs; every answer is held against the scores of the version it names."""

    def __init__(self, port: int, requests: list[tuple[bytes, dict[str, Any]]]) -> None:
        self.mixed = 0
        self.load = Load((), 0, 0.0)
        self._port = port
        self._requests = requests
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> _Traffic:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _send(self) -> None:
        self.load = put_under_load(
            self._port,
            "/predict",
            [body for body, _ in self._requests],
            clients=CLIENTS,
            seconds=600,
            per_second=PER_SECOND,
            check=self._check,
            until=self._done.is_set,
        )

    def _check(self, body: int, answer: bytes) -> None:
        told = orjson.loads(answer)
        expected = self._requests[body][1][told["version"]]
        scores = [prediction["score"] for prediction in told["predictions"]]
        self.mixed += any(abs(a - b) > 1e-9 for a, b in zip(scores, expected, strict=True))


def _swap(world: Published, port: int, versions: list[str], promotions: int, rollbacks: int) -> None:
    for number in range(promotions):
        old, new = versions[number % 2], versions[(number + 1) % 2]
        plan = _canary(world, port, old, new, f"canary {number}") if number % CANARIES == 0 else None
        world.promote(new, f"swap {number}")
        if plan is not None:
            ModelRegistry(world.client).write_plan(plan.changed(state="promoted"), after=plan)
        _wait_for(port, new)
    for number in range(rollbacks):
        target = versions[(promotions + number + 1) % 2]
        key = f"back {number}"
        roll_back(world.client, "bench", by="benchmark", reason="benchmark", run_key=key, version=target)
        _wait_for(port, target)


def _canary(world: Published, port: int, old: str, new: str, key: str) -> TrafficPlan | None:
    """Give the new version more and more of the requests, as a rollout does."""
    now = datetime.now(UTC).isoformat()
    before = ModelRegistry(world.client).read("bench").plan
    for step, share in enumerate(SHARES):
        arms = split(old, new, share)
        plan = TrafficPlan(
            *("bench", "canary", old, new, arms, key, now, now, "benchmark", "benchmark", key),
            revision=before.revision + 1 if before else 1,
            step=step,
        )
        before = ModelRegistry(world.client).write_plan(plan, after=before)
        _wait_for(port, old, {old: 1 - share, new: share})
    return before


def _wait_for(
    port: int, version: str, shares: dict[str, float] | None = None, seconds: float = 120.0
) -> None:
    import httpx

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = httpx.get(f"http://127.0.0.1:{port}/models", trust_env=False, timeout=10).json()[0]
        found = {of: round(share, 6) for of, share in state["shares"].items()}
        if (state["version"], found) == (version, shares or {version: 1.0}):
            return
        time.sleep(0.1)
    raise RuntimeError(f"version {version} did not answer within {seconds:.0f} s")


def _outcome(calm: Load, stormy: Load, mixed: int, promotions: int, rollbacks: int) -> Outcome:
    changes = len(SHARES) * len(range(0, promotions, CANARIES))
    slower = stormy.quantile(0.99) / calm.quantile(0.99)
    return Outcome(
        peer="the same app without a change of version",
        ratios={"p99_vs_calm": 1 / slower},
        figures={
            "failed_requests": stormy.failures,
            "mixed_answers": mixed,
            "promotions": promotions,
            "rollbacks": rollbacks,
            "share_changes": changes,
            "requests": len(stormy.milliseconds),
            "p99_vs_calm": slower,
            "p99_ms": stormy.quantile(0.99),
            "calm_p99_ms": calm.quantile(0.99),
        },
        header=("while", "requests", "requests/s", "p50 ms", "p99 ms", "slowest ms", "failed", "mixed"),
        rows=[
            _row("calm", calm, ""),
            _row(
                f"{promotions} promotions, {changes} canary steps, {rollbacks} rollbacks", stormy, str(mixed)
            ),
        ],
        notes=[
            f"{CLIENTS} clients, {PER_SECOND:.0f} requests a second, {ROWS} rows each, timed from when they were due; every answer is held against the scores of the version it names. "
            "A promotion is waited for until the app answers with it. The clients share the machine."
        ],
    )


def _row(name: str, load: Load, mixed: str) -> tuple[str, ...]:
    return (
        name,
        f"{len(load.milliseconds):,}",
        f"{load.per_second:,.0f}",
        f"{load.quantile(0.5):.1f}",
        f"{load.quantile(0.99):.1f}",
        f"{max(load.milliseconds):.0f}",
        str(load.failures),
        mixed,
    )
