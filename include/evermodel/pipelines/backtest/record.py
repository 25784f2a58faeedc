"""A backtest as a run in MLflow: its facts, its figures, and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel.pipelines.backtest.compare import PolicyComparison
from evermodel.pipelines.backtest.run import Files
from evermodel.registry.tags import BEST, OURS, RESULT
from evermodel.registry.tracking import artifact_url, keyed_run, log_metrics

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

KIND = "backtest"


def record_backtest(
    client: MlflowClient, tracking_uri: str, comparison: PolicyComparison, files: Files
) -> str:
    """Log a backtest and return the address of its report; the same result again is the same run.

    Parameters
    ----------
    files
        What `write_report` wrote.
    """
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
