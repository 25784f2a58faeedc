"""The evaluated test rows: truth, and the predictions of challenger and champion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from evermodel.evaluation.decision import Decision
from evermodel.evaluation.evaluate import clusters_of
from evermodel.evaluation.evaluated_model import EvaluatedModel, threshold_of
from evermodel.modeling import tasks
from evermodel.spec import ModelSpec
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.modeling.fitting import TrainingRows
    from evermodel.modeling.tasks import FittedPipeline


@dataclass(frozen=True)
class ScoredModel:
    """One evaluated model, its predictions on the test rows, and the threshold of its decisions."""

    name: str
    pipeline: FittedPipeline
    answers: Floats
    threshold: float = 0.5


@dataclass(frozen=True)
class ScoredSample:
    """A decision with its input.

    Parameters
    ----------
    features, truth
        The test rows; the truth is 0/1, a column of the predictions (multiclass) or a number (regression).
    classes
        Columns of the predictions; empty unless the task is multiclass.
    champion
        None for a cold start.
    clusters
        Test rows that belong together; None if each counts alone.
    """

    spec: ModelSpec
    decision: Decision
    features: pd.DataFrame
    truth: NDArray[Any]
    classes: tuple[str, ...]
    challenger: ScoredModel
    champion: ScoredModel | None
    clusters: Clusters | None = None

    @property
    def sides(self) -> tuple[ScoredModel, ...]:
        """Challenger first, then the champion if there is one."""
        return (self.challenger,) if self.champion is None else (self.challenger, self.champion)


def score_sample(
    spec: ModelSpec,
    decision: Decision,
    rows: TrainingRows,
    challenger: EvaluatedModel,
    champion: EvaluatedModel | None,
) -> ScoredSample:
    """Score the test rows with both models again, for the plots."""
    if decision.champion is None:
        champion = None  # there is none, or it could not be loaded
    pipelines = [side.pipeline for side in (challenger, champion) if side is not None]
    classes = tasks.classes_of(spec, rows.labels, *pipelines)

    def side(model: EvaluatedModel, name: str) -> ScoredModel:
        answers = tasks.predict(spec, model.pipeline, rows.frame, classes)
        return ScoredModel(name, model.pipeline, answers, threshold_of(spec, model))

    return ScoredSample(
        spec=spec,
        decision=decision,
        features=rows.frame,
        truth=tasks.encode(rows.labels, classes),
        classes=classes,
        clusters=clusters_of(spec, rows.described, rows.times),
        challenger=side(challenger, f"challenger ({challenger.name})"),
        champion=None if champion is None else side(champion, f"champion ({champion.name})"),
    )
