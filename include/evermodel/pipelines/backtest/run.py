"""Replay all policies of a plan in parallel processes, and store the results: as files, and as a run in MLflow."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.atomic import write_text
from evermodel.core.environment import start_worker_of_one_thread
from evermodel.core.formats import stamped
from evermodel.monitoring.performance.answers import metric_to_watch
from evermodel.pipelines.backtest.compare import PolicyComparison, compare
from evermodel.pipelines.backtest.outcome import PolicyOutcome
from evermodel.pipelines.backtest.page import report_page, save_png
from evermodel.pipelines.backtest.plan import ONE_WEEK, Plan
from evermodel.pipelines.backtest.policies import Policy
from evermodel.pipelines.backtest.replay import read_outcome, replay_policy
from evermodel.registry.tags import BEST, OURS, RESULT
from evermodel.registry.tracking import artifact_url, keyed_run, log_metrics

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient


PAGE_FILE, DATA_FILE, PLOT_FILE = "report.html", "backtest.json", "backtest.png"
_POLL_SECONDS = 0.5
# Policies with a fixed calendar first: what they fit, the others find.
_ORDER = ("weekly", "never", "on_drift", "on_decay", "as_declared", "monthly", "weekly_ungated")

# Told now and then: by policy the step that it has done, and how many there are.
Tell = Callable[[Mapping[str, tuple[int, int]]], None]


@dataclass(frozen=True)
class Files:
    """The files of a backtest's report."""

    page: Path
    data: Path
    plot: Path


def run_backtest(plan: Plan, jobs: int, tell: Tell = lambda steps: None) -> PolicyComparison:
    """Replay every policy and compare them.

    What an earlier run has fitted, judged and measured in the same work folder is not repeated; a run that is ended
    half way goes on where it was.

    Parameters
    ----------
    jobs
        How many policies are replayed at once; the result is the same for any number.

    Raises
    ------
    TrainingError
        The first champion cannot be trained.
    """
    chosen = sorted(plan.policies, key=lambda policy: _ORDER.index(policy.name))
    waiting = [policy for policy in chosen if not plan.outcome_file(policy).exists()]
    if waiting:
        _replay(plan, waiting, min(jobs, len(waiting)), tell)
    return comparison_of(plan)


def comparison_of(plan: Plan) -> PolicyComparison:
    """Compare the outcomes of a plan's policies; a missing one is replayed here."""
    outcomes: list[PolicyOutcome] = [replay_policy(plan, policy) for policy in plan.policies]
    return compare(plan.facts(), metric_to_watch(plan.spec), outcomes)


def interim_comparison(plan: Plan) -> PolicyComparison | None:
    """Compare the policies on the weeks that all replays have reached so far; None before the first week.

    A policy whose replay has not begun is left out.
    """
    files = [(plan.outcome_file(policy), plan.interim_file(policy)) for policy in plan.policies]
    found = [
        read_outcome(next(file for file in pair if file.exists())) for pair in files if _any_exists(pair)
    ]
    weeks = min((len(outcome.weeks) for outcome in found), default=0)
    if not weeks:
        return None
    end = f"{plan.weeks[weeks - 1] + ONE_WEEK:%Y-%m-%d}"
    outcomes = [outcome.until(end) for outcome in found]
    return compare({**plan.facts(), "end": end}, metric_to_watch(plan.spec), outcomes)


def _any_exists(files: tuple[Path, Path]) -> bool:
    return any(file.exists() for file in files)


def write_report(comparison: PolicyComparison, folder: Path) -> Files:
    """Write page, plot and data of a comparison to a folder."""
    files = Files(folder / PAGE_FILE, folder / DATA_FILE, folder / PLOT_FILE)
    seconds = {one.policy: round(one.seconds, 3) for one in comparison.outcomes}
    data = {"digest": comparison.digest, "result": comparison.to_json(), "fit_seconds": seconds}
    write_text(files.data, json.dumps(stamped(data), indent=2) + "\n")
    write_text(files.page, report_page(comparison))
    save_png(comparison, files.plot)
    return files


def _replay(plan: Plan, policies: list[Policy], jobs: int, tell: Tell) -> None:
    # Spawned, not forked: a fork of a process that has trained would hang.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=start_worker_of_one_thread)
    try:
        running = {pool.submit(replay_policy, plan, policy) for policy in policies}
        _watch(plan, policies, running, tell)
    except BaseException:
        # Ctrl-C, or a policy that failed: the others are not waited for, as what they have done is kept.
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _watch(plan: Plan, policies: list[Policy], running: set[Future[PolicyOutcome]], tell: Tell) -> None:
    """Wait for all with progress; the first failure ends the wait."""
    began = time.monotonic()
    while running:
        done, running = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            try:
                future.result()
            except BaseException:
                for other in running:
                    other.cancel()
                raise
        tell({policy.name: _step(plan, policy, began) for policy in policies})


def _step(plan: Plan, policy: Policy, began: float) -> tuple[int, int]:
    if plan.outcome_file(policy).exists():
        return len(plan.steps), len(plan.steps)
    try:
        done, _, total = plan.progress_file(policy).read_text(encoding="utf-8").partition("/")
        return int(done), int(total)
    except (OSError, ValueError):
        return 0, len(plan.steps)


KIND = "backtest"


def record_backtest(
    client: MlflowClient, tracking_uri: str, comparison: PolicyComparison, files: Files
) -> str:
    """Log a backtest and return the address of its report; the same result again is the same run."""
    facts, digest = comparison.facts, comparison.digest
    model = str(facts["model"])
    tags = {OURS + name: str(value) for name, value in facts.items() if value is not None}
    tags |= {RESULT: digest, BEST: comparison.best.policy}
    run = keyed_run(
        client,
        f"{model}-backtests",
        f"backtest/{model}/{digest}",
        kind=KIND,
        name=f"backtest {facts['start']} to {facts['end']}",
        tags=tags,
    )
    figures: dict[str, float | None] = {}
    for one, outcome in zip(comparison.standings, comparison.outcomes, strict=True):
        figures |= {
            f"{one.policy}_mean": one.mean,
            f"{one.policy}_worst": one.worst.value,
            f"{one.policy}_gain": one.gain,
            f"{one.policy}_retrains": float(one.tried),
            f"{one.policy}_shipped": float(one.shipped),
            f"{one.policy}_alerts": float(one.alerts),
            f"{one.policy}_fit_seconds": outcome.seconds,
        }
    log_metrics(client, run.info.run_id, figures)
    for file in (files.page, files.data, files.plot):
        client.log_artifact(run.info.run_id, str(file))
    client.set_terminated(run.info.run_id, "FINISHED")
    return artifact_url(tracking_uri, run, files.page.name)
