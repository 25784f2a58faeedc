"""The fault sweep: each request of each step fails in every way, processes are killed at random, and the step runs again.

By itself (`make test-faults ARGS="--faults 1000 --kills 300 --seed 1"`) it prints a table of what was tried and what was wrong.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from faults.steps import STEPS, Step, begin
from support.fault_proxies import HTTP_KINDS, POSTGRES_KINDS, Fault, generic
from support.fault_world import Ending, FaultWorld, Saved, bucket_of, fault_world
from support.flights import World

KILL = "killed"
_BLOCK = 60  # jobs among which those of a step follow each other: the world before it is nearly there then
# A file of the log or the labels whose writer was interrupted before the commit: it does not count, and compaction deletes it.
_COMPACTED = re.compile(r"object lake/(predictions|labels)/.*/part\S*\.parquet$")
_NEEDED = (
    "mlflow.tracking.client", "deltalake", "obstore.store", "pyarrow.dataset", "pyarrow.parquet", "duckdb", "alembic.command",
    "matplotlib.pyplot", "slack_sdk", "psycopg", "evermodel_provider.notifications.delivery", "sqlalchemy.dialects.postgresql",
)  # fmt: skip
_HEAVY = (
    "mlflow.sklearn", "mlflow.pyfunc", "sklearn.pipeline", "skops.io", "evidently", "onnxruntime", "skl2onnx",
    "evermodel.reports.retrain.log_decision_page",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
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


Job = tuple[Stage, Fault | float]  # a float: the instant of a kill, as a share of the step's time


@dataclass(frozen=True)
class Result:
    """What became of one fault or kill.

    Parameters
    ----------
    what
        Names the fault, or the instant of the kill as a share of the step's time.
    retried
        The step failed, or was killed, and ran again.
    wrong
        What is not as without the fault.
    """

    step: str
    kind: str
    what: str
    retried: bool
    wrong: tuple[str, ...]
    seconds: float

    @property
    def job(self) -> tuple[str, str]:
        return self.step, self.what


@dataclass
class Sweep:
    """The stages of a model's life, and what became of the faults in them."""

    world: FaultWorld
    stages: list[Stage] = field(default_factory=list)

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

    def faults(self, seed: int) -> list[Job]:
        """Return every fault in an order of the seed: of requests that are alike first one fault, then one of another kind."""
        alike: dict[tuple[str, str, str], dict[str, list[tuple[float, Job]]]] = {}
        for stage in self.stages:
            for server, request, number in stage.requests:
                kinds = alike.setdefault((stage.step.name, server, request), {})
                for kind in POSTGRES_KINDS if server == "database" else HTTP_KINDS:
                    job = stage, Fault(server, request, number, kind)
                    kinds.setdefault(kind, []).append((self.place(seed, job), job))
        turns = []
        for kinds in alike.values():
            by_turn = [
                (turn, *one)
                for same in kinds.values()
                for turn, one in enumerate(sorted(same, key=lambda one: one[0]))
            ]
            turns += [(turn, *one[1:]) for turn, one in enumerate(sorted(by_turn, key=lambda one: one[:2]))]
        return [job for *_, job in sorted(turns, key=lambda one: one[:2])]

    def place(self, seed: int, job: Job) -> float:
        """Return a number from 0 to 1 that depends on the seed and the job alone."""
        return random.Random(f"{seed} {self.named(*job)}").random()

    def run(self, stage: Stage, job: Fault | float) -> Result:
        """Disturb one request of a step, or kill it after a share of its usual time; then run it again if it did not end well."""
        began = time.monotonic()
        self.world.restore(stage.before)
        fault = job if isinstance(job, Fault) else None
        self.world.faults.begin(fault)
        done = self._act(stage.step, stage.answers, None if isinstance(job, Fault) else job * stage.seconds)
        wrong = []
        if fault is not None and self.world.faults.hits != 1:
            wrong.append(f"the request was hit {self.world.faults.hits} times")
        wrong += self._again(stage, done)
        return Result(
            stage.step.name,
            KILL if fault is None else f"{fault.server}: {fault.kind}",
            self.named(stage, job)[1],
            not done.good,
            tuple(wrong),
            round(time.monotonic() - began, 2),
        )

    def named(self, stage: Stage, job: Fault | float) -> tuple[str, str]:
        """Return a job's name, which is the same in another world; see `Result.job`."""
        text = f"killed at {job:.4f} of its time" if isinstance(job, float) else str(job)
        mine = {bucket_of(self.world.world).bucket: "BUCKET", self.world.world.name: "MODEL"}
        for name, replacement in mine.items():
            text = text.replace(name, replacement)
        return stage.step.name, text

    def _again(self, stage: Stage, done: Ending) -> Iterator[str]:
        self.world.faults.begin()
        if done.permanent:
            yield f"not retried, because the error is said to stay: {done.error}"
        if not done.good:
            done = self._act(stage.step, stage.answers)
        if not done.good:
            yield f"the retry failed: {done.error}"
        elif _text(done.value) != stage.answer:
            yield f"the answer is {_text(done.value)} instead of {stage.answer}"
        yield from stage.different(self.world.state())
        if stage.step.look is not None:
            looked = self.world.run(stage.step.look)
            yield from looked.value if looked.good else [looked.error]

    def _act(self, step: Step, answers: dict[str, Any], kill_after: float | None = None) -> Ending:
        def work(world: World) -> Any:
            return step.act(world, answers)

        return self.world.run(work, kill_after)


def table(results: Iterable[Result]) -> Iterator[str]:
    """Give a line for each step and kind: faults, how many of them failed the step, and violations."""
    alike: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        alike.setdefault((result.step, result.kind), []).append(result)
    every = [result for same in alike.values() for result in same]
    yield f"{'step':20} {'kind':24} {'faults':>7} {'retried':>8} {'violations':>11}"
    for (step, kind), same in sorted(alike.items()):
        retried, wrong = (
            sum(bool(value) for value in values)
            for values in zip(*((one.retried, one.wrong) for one in same), strict=True)
        )
        yield f"{step:20} {kind:24} {len(same):7} {retried:8} {wrong:11}"
    kills = sum(one.kind == KILL for one in every)
    retried, wrong = sum(one.retried for one in every), sum(bool(one.wrong) for one in every)
    yield f"{len(every) - kills} faults, {kills} kills, {retried} retried, {wrong} with violations"


def warm(*modules: str) -> None:
    """Import what the steps need once, and not in each forked process."""
    for module in (*_NEEDED, *modules):
        importlib.import_module(module)


def _cheapen() -> None:
    """Do once what asks no server and takes a process half a second or more."""
    from mlflow.utils import requirements_utils

    from evermodel.core.environment import installed_packages
    from evermodel.reports.retrain import log_decision_page, numbers

    installed_packages()
    requirements_utils._init_packages_to_modules_map()
    setattr(log_decision_page, "decision_page", lambda *_: "a page")  # noqa: B010
    numbers.MOST_REPEATS = 1


def _good(done: Ending, name: str) -> Ending:
    assert done.good, f"{name} fails without a fault: {done.error or 'killed'}"
    return done


def _text(value: Any) -> str:
    return generic(json.dumps(value, default=str, sort_keys=True))


def read_results(file: Path) -> dict[tuple[str, str], Result]:
    """Return the last result of every job in a file."""
    lines = file.read_text().splitlines() if file.exists() else []
    results = (Result(**json.loads(line)) for line in lines)
    return {result.job: result for result in results}


def main(arguments: Sequence[str]) -> int:
    """Sweep in servers of its own."""
    from evermodel.registry.tracking import configure_mlflow_process
    from support.airflow_runs import claim_airflow_home

    parser = argparse.ArgumentParser()
    parser.add_argument("--faults", type=int, help="at most so many; all of them if not given")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", nargs="*", default=[], help="disturb these steps only")
    parser.add_argument("--list", action="store_true", help="only list the requests")
    parser.add_argument("--workers", type=int, default=2, help="processes, each with servers of its own")
    parser.add_argument(
        "--results", type=Path, help="file of results; what it has without a violation is not run again"
    )
    asked = parser.parse_args(arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    configure_mlflow_process()
    claim_airflow_home()
    warm(*_HEAVY)
    _cheapen()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        asked.results = (asked.results or Path(folder) / "results.jsonl").absolute()
        workers = [_forked(part, asked) for part in range(1 if asked.list else asked.workers)]
        for number in (signal.SIGINT, signal.SIGTERM):  # also in the background, where a shell has it ignored
            signal.signal(number, lambda *_: _stop(workers))
        failed = [worker for worker in workers if os.waitpid(worker, 0)[1]]
        results = read_results(asked.results).values()
    print("\n".join(table(results)))
    return len(failed) + sum(bool(result.wrong) for result in results)


def _stop(workers: list[int]) -> None:
    for worker in workers:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGTERM)


def _forked(part: int, asked: argparse.Namespace) -> int:
    worker = os.fork()
    if worker:
        return worker
    code = 1
    try:
        os.setsid()  # whoever stops the sweep at a keyboard stops it here
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            _sweep(part, asked)
        code = 0
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _sweep(part: int, asked: argparse.Namespace) -> None:
    from support.mlflow_server import mlflow_server
    from support.object_stores import s3_server
    from support.postgres_server import postgres_server

    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        place = folder / "mlflow"
        place.mkdir()
        servers = (stack.enter_context(mlflow_server(place)), place, stack.enter_context(s3_server()))
        world = stack.enter_context(
            fault_world(folder / "model", *servers, stack.enter_context(postgres_server()))
        )
        sweep = Sweep(world)
        sweep.record(begin, STEPS, times=2)
        gc.collect()
        gc.freeze()  # what the forked processes share stays shared
        print(f"recorded in {time.monotonic() - began:.0f} s", flush=True)
        if asked.list:
            _list(sweep)
        else:
            _run_jobs(sweep, _jobs(sweep, asked, part), asked.results)


def _list(sweep: Sweep) -> None:
    for stage in sweep.stages:
        print(f"{stage.step.name}: {stage.seconds:.2f} s, {len(stage.requests)} requests")
        for line in stage.requests:
            print("   ", *line)
        print("    varying:", sorted(stage.varying))


def _jobs(sweep: Sweep, asked: argparse.Namespace, part: int) -> list[Job]:
    """Return the jobs of one of the processes, which do not have to see the very same requests."""
    chosen = random.Random(asked.seed)
    wanted = [stage for stage in sweep.stages if not asked.steps or stage.step.name in asked.steps]
    jobs = [job for job in sweep.faults(asked.seed) if job[0] in wanted][: asked.faults]
    jobs += [(chosen.choice(wanted), chosen.uniform(0, 1.2)) for _ in range(asked.kills)]
    places = sorted((sweep.place(asked.seed + 1, job), number) for number, job in enumerate(jobs))
    mine = [jobs[number] for place, number in places if int(place * 1e9) % asked.workers == part]
    blocks = (mine[first : first + _BLOCK] for first in range(0, len(mine), _BLOCK))
    return [job for block in blocks for job in sorted(block, key=lambda job: sweep.stages.index(job[0]))]


def _run_jobs(sweep: Sweep, jobs: list[Job], file: Path) -> None:
    known = {job for job, result in read_results(file).items() if not result.wrong}
    began, left = time.monotonic(), [job for job in jobs if sweep.named(*job) not in known]
    for number, (stage, job) in enumerate(left, 1):
        result = sweep.run(stage, job)
        with file.open("a") as results:
            results.write(json.dumps(asdict(result)) + "\n")
        for text in result.wrong:
            print(f"{result.step}, {result.what}: {text}", flush=True)
        if number % 25 == 0:
            print(f"{number} of {len(left)} in {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
