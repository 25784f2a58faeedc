"""The retrains of a model in comparison."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import PermanentError
from evermodel.registry import tags as tag

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
    version
        The registered version.
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

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)


def retrain_lines(client: MlflowClient, model: str, most: int = 20) -> list[RetrainLine]:
    """Return the retrains of a model, latest ``as_of`` first.

    Parameters
    ----------
    most
        Most retrains to return.

    Raises
    ------
    PermanentError
        MLflow has no retrain of the model.
    """
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
