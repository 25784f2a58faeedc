"""The retrains of a model in comparison."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evermodel.alerts.text import one_line
from evermodel.core.errors import PermanentError
from evermodel.registry import tags as tag
from evermodel.reports.retrain.text import number

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, Run


@dataclass(frozen=True)
class RetrainLine:
    """One retrain; missing results are None or empty.

    Parameters
    ----------
    challenger, champion
        The metric of both on the same test rows.
    gain, gain_low, gain_high
        Gain of the challenger with its interval; positive is better for any metric.
    outcome
        How it ended, e.g. ``deployed``; ``unfinished`` while it runs or after it failed.
    """

    as_of: str
    reason: str
    candidate: str
    params: dict[str, str]
    metric: str
    challenger: float | None
    champion: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    rows: int | None
    verdict: str
    ship: bool | None
    forced: bool
    outcome: str
    version: str
    run_id: str
    run_key: str


def retrain_lines(client: MlflowClient, model: str, most: int = 20) -> list[RetrainLine]:
    """Return the retrains of a model, latest ``as_of`` first; raises `PermanentError` if MLflow has none."""
    experiment = client.get_experiment_by_name(model)
    found: list[Run] = []
    if experiment is not None:
        found = client.search_runs(
            [experiment.experiment_id],
            filter_string=f"tags.`{tag.KIND}` = 'retrain'",
            order_by=[f"tags.`{tag.AS_OF}` DESC", "attributes.start_time DESC"],
            max_results=most,
        )
    if not found:
        raise PermanentError(
            f"MLflow has no retrain of a model {model}",
            f"check the name and MLFLOW_TRACKING_URI, or run evermodel train {model}",
        )
    return [_line(run) for run in found]


def _line(run: Run) -> RetrainLine:
    tags, metrics, params = run.data.tags, run.data.metrics, run.data.params
    metric = tags.get(tag.METRIC, "")
    rows, ship = metrics.get("test_rows"), tags.get(tag.SHIP)
    return RetrainLine(
        as_of=tags.get(tag.AS_OF, "")[:10],
        reason=tags.get(tag.REASON, ""),
        candidate=tags.get(tag.CANDIDATE, ""),
        params={k.removeprefix("params."): v for k, v in sorted(params.items()) if k.startswith("params.")},
        metric=metric,
        challenger=metrics.get(f"test_{metric}"),
        champion=metrics.get(f"test_{metric}_champion"),
        gain=metrics.get("gain"),
        gain_low=metrics.get("gain_low"),
        gain_high=metrics.get("gain_high"),
        rows=None if rows is None else int(rows),
        verdict=tags.get(tag.VERDICT, ""),
        ship=None if ship is None else ship == "true",
        forced=tags.get(tag.FORCED) == "true",
        outcome=tags.get(tag.OUTCOME, "unfinished"),
        version=tags.get(tag.VERSION, ""),
        run_id=run.info.run_id,
        run_key=tags.get(tag.RUN_KEY, ""),
    )


_WIDE = 170  # without a terminal


def print_runs(model: str, lines: Sequence[RetrainLine]) -> None:
    """Print one row for each retrain."""
    table = Table(title=f"Retrains of {model}", title_justify="left")
    table.add_column("as of", no_wrap=True)
    table.add_column("reason", max_width=30, overflow="fold")
    table.add_column("candidate", no_wrap=True)
    table.add_column("parameters", max_width=34, overflow="fold")
    for name in ("challenger", "champion", "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("verdict", "outcome", "version"):
        table.add_column(name)
    for line in lines:
        table.add_row(*(Text(one_line(cell)) for cell in _cells(line)))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def _cells(line: RetrainLine) -> tuple[str, ...]:
    gain = number(line.gain, "+")
    if line.gain_low is not None and line.gain_high is not None:
        gain += f" ({number(line.gain_low, '+')} to {number(line.gain_high, '+')})"
    verdict = line.verdict.replace("_", " ")
    return (
        line.as_of,
        line.reason,
        line.candidate,
        " ".join(f"{key}={value}" for key, value in line.params.items()),
        f"{line.metric} {number(line.challenger)}" if line.metric else "-",
        number(line.champion),
        gain,
        f"{verdict}, forced" if line.forced else verdict,
        line.outcome,
        line.version,
    )
