"""The fault sweep: each request of each step fails in every way, processes are killed at random, and the step runs again.

By itself (`make test-faults ARGS="--faults 1000 --kills 300 --seed 1"`) it prints a table of what was tried and what was wrong.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.steps import STEPS, Step, begin
from support.fault_proxies import HTTP_KINDS, POSTGRES_KINDS, Fault, generic
from support.fault_world import Ending, FaultWorld, Saved, fault_world
from support.flights import World

KILL = "killed"
# A file of the prediction log whose writer was interrupted before the commit: it does not count, and compaction deletes it.
_COMPACTED = re.compile(r"object lake/predictions/.*/part\S*\.parquet$")
_NEEDED = (
    "mlflow.tracking.client", "deltalake", "obstore.store", "pyarrow.dataset", "pyarrow.parquet", "duckdb", "alembic.command",
    "matplotlib.pyplot", "slack_sdk", "psycopg", "evermodel_provider.notifications.delivery", "sqlalchemy.dialects.postgresql",
)  # fmt: skip
_HEAVY = (
    "mlflow.sklearn", "mlflow.pyfunc", "sklearn.pipeline", "skops.io", "evidently", "onnxruntime", "skl2onnx",
    "evermodel.reports.retrain.log_decision_page",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A step, the state before it, and what it leaves behind when nothing goes wrong."""

    step: Step
    answers: dict[str, Any]
    before: Saved
    requests: tuple[tuple[str, str, int], ...]
    after: Counter[str]
    varying: frozenset[str]
    answer: str
    seconds: float

    def different(self, state: Counter[str]) -> list[str]:
        """Return what a state has too much or too little."""
        expected, found = (self._comparable(counter) for counter in (self.after, state))
        gone = [f"missing: {line}" for line in (expected - found).elements()]
        more = [line for line in (found - expected).elements() if not _COMPACTED.match(line)]
        return [f"too much: {line}" for line in more] + gone

    def _comparable(self, counter: Counter[str]) -> Counter[str]:
        made: Counter[str] = Counter()
        for line, count in counter.items():
            name = line.partition(": ")[0]
            made[name if name in self.varying else line] += count
        return made


@dataclass
class Sweep:
    """The stages of a model's life, and what became of the faults in them."""

    world: FaultWorld
    seed: int = 1
    stages: list[Stage] = field(default_factory=list)
    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    retried: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[tuple[str, str, str]] = field(default_factory=list)

    def record(self, beginning: Callable[[World], Any], steps: Sequence[Step], *, times: int = 1) -> None:
        """Run every step without a fault.

        Parameters
        ----------
        times
            How often; what differs among them may differ later.
        """
        _good(self.world.run(beginning), "the beginning")
        answers: dict[str, Any] = {}
        for step in steps:
            if step.prepare is not None:
                _good(self.world.run(lambda world, it=step: it.prepare(world, answers)), step.name)  # type: ignore[misc]
            before = self.world.save()
            states, done, seen = [], Ending(), list[tuple[str, str, int]]()
            for number in range(times):
                if number:
                    self.world.restore(before)
                self.world.faults.begin()
                done = _good(self._act(step, answers), step.name)
                seen = self.world.faults.seen
                states.append(self.world.state())
            after = states[-1]
            varying = {line.partition(": ")[0] for one in states for line in (one - after) + (after - one)}
            answer = _text(done.value)
            self.stages.append(
                Stage(
                    step, dict(answers), before, tuple(seen), after, frozenset(varying), answer, done.seconds
                )
            )
            answers[step.name] = done.value

    def faults(self, chosen: random.Random) -> list[tuple[Stage, Fault]]:
        """Return every fault in random order; of requests that are alike, one of each kind comes before the others."""
        alike: dict[tuple[str, str, str, str], list[tuple[Stage, Fault]]] = {}
        for stage in self.stages:
            for server, request, number in stage.requests:
                for kind in POSTGRES_KINDS if server == "database" else HTTP_KINDS:
                    same = alike.setdefault((stage.step.name, server, request, kind), [])
                    same.append((stage, Fault(server, request, number, kind)))
        ranked = [
            (place, chosen.random(), pair)
            for same in alike.values()
            for place, pair in enumerate(chosen.sample(same, len(same)))
        ]
        return [pair for *_, pair in sorted(ranked, key=lambda one: one[:2])]

    def disturb(self, stage: Stage, fault: Fault) -> None:
        """Disturb one request of a step, then run the step again if it did not end well."""
        self.world.restore(stage.before)
        self.world.faults.begin(fault)
        done = self._act(stage.step, stage.answers)
        hits = self.world.faults.hits
        kind = f"{fault.server}: {fault.kind}"
        self.tried[stage.step.name, kind] += 1
        if hits != 1:
            self._note(stage, kind, f"{fault}: the request was hit {hits} times")
        self._again(stage, kind, str(fault), done)

    def kill(self, stage: Stage, instant: float) -> None:
        """Kill a step after a share of its usual time, then run it again."""
        self.world.restore(stage.before)
        self.world.faults.begin()
        seconds = instant * stage.seconds
        done = self._act(stage.step, stage.answers, kill_after=seconds)
        self.tried[stage.step.name, KILL] += 1
        self._again(
            stage, KILL, f"killed after {seconds:.3f} s, {len(self.world.faults.seen)} requests", done
        )

    def _again(self, stage: Stage, kind: str, what: str, done: Ending) -> None:
        self.world.faults.begin()
        if done.permanent:
            self._note(stage, kind, f"{what}: not retried, because the error is said to stay: {done.error}")
        if not done.good:
            self.retried[stage.step.name, kind] += 1
            done = self._act(stage.step, stage.answers)
        if not done.good:
            self._note(stage, kind, f"{what}: the retry failed: {done.error}")
        elif _text(done.value) != stage.answer:
            self._note(stage, kind, f"{what}: the answer is {_text(done.value)} instead of {stage.answer}")
        problems = stage.different(self.world.state())
        if stage.step.look is not None:
            looked = self.world.run(stage.step.look)
            problems += looked.value if looked.good else [looked.error]
        for problem in problems:
            self._note(stage, kind, f"{what}: {problem}")

    def _act(self, step: Step, answers: dict[str, Any], kill_after: float | None = None) -> Ending:
        def work(world: World) -> Any:
            return step.act(world, answers)

        return self.world.run(work, kill_after)

    def _note(self, stage: Stage, kind: str, text: str) -> None:
        self.wrong.append((stage.step.name, kind, text))

    def table(self) -> Iterator[str]:
        """Give a line for each step and kind: faults, how many of them failed the step, and violations."""
        bad = Counter((step, kind) for step, kind, _ in self.wrong)
        yield f"{'step':20} {'kind':24} {'faults':>7} {'retried':>8} {'violations':>11}"
        for step, kind in sorted(self.tried):
            key = (step, kind)
            yield f"{step:20} {kind:24} {self.tried[key]:7} {self.retried[key]:8} {bad[key]:11}"
        kills = sum(count for (_, kind), count in self.tried.items() if kind == KILL)
        total = sum(self.tried.values())
        yield f"{total - kills} faults, {kills} kills, {self.retried.total()} retried, {len(self.wrong)} violations"


def warm(*modules: str) -> None:
    """Import what the steps need once, and not in each forked process."""
    for module in (*_NEEDED, *modules):
        importlib.import_module(module)


def _good(done: Ending, name: str) -> Ending:
    assert done.good, f"{name} fails without a fault: {done.error or 'killed'}"
    return done


def _text(value: Any) -> str:
    return generic(json.dumps(value, default=str, sort_keys=True))


def main(arguments: Sequence[str]) -> int:
    """Sweep in servers of its own."""
    from evermodel.registry.tracking import configure_mlflow_process
    from support.airflow_runs import claim_airflow_home
    from support.mlflow_server import mlflow_server
    from support.object_stores import s3_server
    from support.postgres_server import postgres_server

    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, help="at most so many; all of them if not given")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", nargs="*", default=[], help="disturb these steps only")
    parser.add_argument("--list", action="store_true", help="only list the requests")
    asked = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    configure_mlflow_process()
    claim_airflow_home()
    warm(*_HEAVY)
    for number in (signal.SIGINT, signal.SIGTERM):  # also in the background, where a shell has it ignored
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        place = folder / "mlflow"
        place.mkdir()
        servers = (stack.enter_context(mlflow_server(place)), place, stack.enter_context(s3_server()))
        world = stack.enter_context(
            fault_world(folder / "model", *servers, stack.enter_context(postgres_server()))
        )
        sweep = Sweep(world, asked.seed)
        began = time.monotonic()
        sweep.record(begin, STEPS, times=2)
        print(f"recorded in {time.monotonic() - began:.0f} s", flush=True)
        with suppress(KeyboardInterrupt):
            _sweep(sweep, asked)
        print("\n".join(sweep.table()), flush=True)
    return len(sweep.wrong)


def _sweep(sweep: Sweep, asked: argparse.Namespace) -> None:
    chosen = random.Random(asked.seed)
    if asked.list:
        for stage in sweep.stages:
            print(f"{stage.step.name}: {stage.seconds:.2f} s, {len(stage.requests)} requests")
            for line in stage.requests:
                print("   ", *line)
            print("    varying:", sorted(stage.varying))
        return
    wanted = [stage for stage in sweep.stages if not asked.steps or stage.step.name in asked.steps]
    faults = [pair for pair in sweep.faults(chosen) if pair[0] in wanted][: asked.faults]
    kills = [(chosen.choice(wanted), chosen.uniform(0, 1.2)) for _ in range(asked.kills)]
    jobs: list[tuple[Stage, Fault | float]] = [*faults, *kills]
    chosen.shuffle(jobs)
    told, began = 0, time.monotonic()
    for number, (stage, job) in enumerate(jobs):
        sweep.kill(stage, job) if isinstance(job, float) else sweep.disturb(stage, job)
        for step, kind, text in sweep.wrong[told:]:
            print(f"{step}, {kind}: {text}", flush=True)
        told = len(sweep.wrong)
        if number % 25 == 24:
            print(
                f"{number + 1} of {len(jobs)} in {time.monotonic() - began:.0f} s, {told} wrong", flush=True
            )


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
