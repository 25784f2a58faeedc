"""Promotions, canaries and rollbacks in a row under a constant load: lost requests, mixed answers, what they cost.

The registry and the promotions share the machine with the app here, which they do not in production. So the app is also
measured while the same is done to a model that it does not serve: what is left between the two is the app's own.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
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

CLIENTS, ROWS, PER_SECOND, WARM_UP = 32, 3, 500.0, 1.0
NEIGHBOUR = "neighbour"  # a model in the same registry that the app does not serve
LOOKS = 5  # a change takes the app half a second, as a rule
SHARES = (0.1, 0.5)  # of a canary, before the promotion that ends it


def run(small: bool) -> Outcome:
    """Measure the app in turn calm, beside changes of another model, and while its own champion changes."""
    rounds, promotions, calm_seconds = (1, 4, 2.0) if small else (5, 4, 6.0)
    calm, beside, stormy, mixed = [], [], [], 0
    with tempfile.TemporaryDirectory() as folder, published(Path(folder), 20 if small else 100) as world:
        versions = [world.publish(seed, promote=seed == 1) for seed in (1, 2)]
        others = [world.copied(version, NEIGHBOUR) for version in versions]
        world.promote(others[0], "the first", NEIGHBOUR)
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
        for number in range(rounds):
            with _Traffic(port, requests) as traffic:
                _ask(_Pause(port), calm_seconds)
            calm.append(traffic.load)
            with _Traffic(port, requests) as traffic:
                others = _swap(world, NEIGHBOUR, _Pause(port), others, promotions, f"round {number}")
            beside.append(traffic.load)
            with _Traffic(port, requests) as traffic:
                versions = _swap(world, "bench", _Followed(port), versions, promotions, f"round {number}")
            stormy.append(traffic.load)
            mixed += traffic.mixed
    return _outcome(_pooled(calm), _pooled(beside), _pooled(stormy), mixed, rounds, promotions)


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
    """A constant load while the block runs; every answer is held against the scores of the version it names.

    The clients have a process of their own: what the benchmark does beside them would delay them, not the app.
    """

    def __init__(self, port: int, requests: list[tuple[bytes, dict[str, Any]]]) -> None:
        self.mixed = 0
        self.load = Load((), 0, 0.0)
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._done = context.Event()
        self._process = context.Process(target=_send, args=(port, requests, theirs, self._done), daemon=True)

    def __enter__(self) -> _Traffic:
        self._process.start()
        self._ours.recv()
        time.sleep(WARM_UP)
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self.load, self.mixed = self._ours.recv()
        self._process.join()


def _send(port: int, requests: list[tuple[bytes, dict[str, Any]]], ours: Any, done: Any) -> None:
    mixed = 0

    def check(body: int, answer: bytes) -> None:
        nonlocal mixed
        told = orjson.loads(answer)
        expected = requests[body][1][told["version"]]
        scores = [prediction["score"] for prediction in told["predictions"]]
        mixed += any(abs(a - b) > 1e-9 for a, b in zip(scores, expected, strict=True))

    ours.send("ready")
    load = put_under_load(
        port,
        "/predict",
        [body for body, _ in requests],
        clients=CLIENTS,
        seconds=600,
        warm_up=WARM_UP,
        per_second=PER_SECOND,
        check=check,
        until=done.is_set,
    )
    ours.send((load, mixed))


class _Followed:
    """Waits until the app answers as the registry says.

    Parameters
    ----------
    port
        On which the app listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    def wait(self, version: str, shares: dict[str, float] | None = None, seconds: float = 120.0) -> None:
        """Ask the app for its version and shares, ten times a second."""
        end = time.monotonic() + seconds
        with httpx.Client(base_url=f"http://127.0.0.1:{self._port}", trust_env=False, timeout=10) as client:
            while time.monotonic() < end:
                state = client.get("/models").json()[0]
                found = {of: round(share, 6) for of, share in state["shares"].items()}
                if self._done((state["version"], found), (version, shares or {version: 1.0})):
                    return
                time.sleep(0.1)
        raise RuntimeError(f"version {version} did not answer within {seconds:.0f} s")

    def _done(self, found: tuple[str, dict[str, float]], wanted: tuple[str, dict[str, float]]) -> bool:
        return found == wanted


class _Pause(_Followed):
    """Asks the app as often, of which no change is expected, for the time that one takes."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._left = LOOKS

    def _done(self, found: tuple[str, dict[str, float]], wanted: tuple[str, dict[str, float]]) -> bool:
        self._left = self._left - 1 or LOOKS
        return self._left == LOOKS


def _ask(app: _Pause, seconds: float) -> None:
    """Ask for the app's state as often as while it changes, which requests wait for, too."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        app.wait("")


def _swap(
    world: Published, model: str, app: _Followed, versions: list[str], promotions: int, key: str
) -> list[str]:
    """Promote in turn, the first time after a canary, and roll back once; return the versions, the champion first."""
    old, new = versions
    for number in range(promotions):
        plan = _canary(world, model, app, old, new, f"{key}: canary") if number == 0 else None
        world.promote(new, f"{key}: promotion {number}", model)
        if plan is not None:
            ModelRegistry(world.client).write_plan(plan.changed(state="promoted"), after=plan)
        app.wait(new)
        old, new = new, old
    roll_back(world.client, model, by="benchmark", reason="benchmark", run_key=key, version=new)
    app.wait(new)
    return [new, old]


def _canary(world: Published, model: str, app: _Followed, old: str, new: str, key: str) -> TrafficPlan | None:
    """Give the new version more and more of the requests, as a rollout does."""
    now = datetime.now(UTC).isoformat()
    before = ModelRegistry(world.client).read(model).plan
    for step, share in enumerate(SHARES):
        arms = split(old, new, share)
        plan = TrafficPlan(
            *(model, "canary", old, new, arms, key, now, now, "benchmark", "benchmark", key),
            revision=before.revision + 1 if before else 1,
            step=step,
        )
        before = ModelRegistry(world.client).write_plan(plan, after=before)
        app.wait(old, {old: 1 - share, new: share})
    return before


def _pooled(loads: Sequence[Load]) -> Load:
    times = tuple(time for load in loads for time in load.milliseconds)
    return Load(times, sum(load.failures for load in loads), sum(load.seconds for load in loads))


def _outcome(calm: Load, beside: Load, stormy: Load, mixed: int, rounds: int, promotions: int) -> Outcome:
    p99 = stormy.quantile(0.99)
    slower = p99 / calm.quantile(0.99)
    swaps, changes = rounds * promotions, rounds * len(SHARES)
    return Outcome(
        peer="the same app without a change of version",
        ratios={"p99_vs_calm": 1 / slower},
        figures={
            "failed_requests": stormy.failures,
            "mixed_answers": mixed,
            "promotions": swaps,
            "rollbacks": rounds,
            "share_changes": changes,
            "requests": len(stormy.milliseconds),
            "p99_vs_calm": slower,
            "p99_vs_beside": p99 / beside.quantile(0.99),
            "p99_ms": p99,
            "calm_p99_ms": calm.quantile(0.99),
            "beside_p99_ms": beside.quantile(0.99),
        },
        header=("while", "requests", "requests/s", "p50 ms", "p99 ms", "slowest ms", "failed", "mixed"),
        rows=[
            _row("calm", calm, ""),
            _row("the same changes of a model that is not served", beside, ""),
            _row(f"{swaps} promotions, {changes} canary steps, {rounds} rollbacks", stormy, str(mixed)),
        ],
        notes=[
            f"{CLIENTS} clients, {PER_SECOND:.0f} requests a second, {ROWS} rows each, timed from when they were due; every answer is held against the scores of the version it names. "
            f"A promotion is waited for until the app answers with it; the app is asked for its state as often in every part. Calm, beside changes of another model, and changing in turn, {rounds} times. Clients, registry and what promotes share the machine."
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
