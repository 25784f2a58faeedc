"""What the gate would have said of each version of a foreign model, by the rows that came after it was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from evermodel.core.errors import GateError
from evermodel.evaluation.decision import Decision
from evermodel.evaluation.evaluate import EvaluatedModel, evaluate
from evermodel.modeling.tasks import FittedPipeline
from evermodel.pipelines.adopt.scores import VersionScores
from evermodel.pipelines.adopt.versions import ForeignVersion
from evermodel.spec import ModelSpec
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 50_000  # of one comparison, drawn at random


@dataclass(frozen=True)
class VersionDecision:
    """The gate's decision on one version, beside what was done.

    Parameters
    ----------
    against
        The version that served when it was made; empty for the first one.
    decision
        None if it cannot be made; `reason` says why.
    """

    version: ForeignVersion
    against: str
    decision: Decision | None
    reason: str

    @property
    def finding(self) -> str:
        """What was done wrong, by the rows that came after: ``worse shipped``, ``better held back``, or empty."""
        if self.decision is None or not self.against:
            return ""
        if self.version.shipped and self.decision.verdict == "worse":
            return "worse shipped"
        return "better held back" if not self.version.shipped and self.decision.verdict == "better" else ""


def decide(spec: ModelSpec, scores: VersionScores) -> list[VersionDecision]:
    """Evaluate each version against the one that served when it was made, on the rows until the next one.

    No version has seen these rows, whatever it was trained on.
    """
    return [_decided(spec, scores, one) for one in scores.served.versions.versions]


def _decided(spec: ModelSpec, scores: VersionScores, version: ForeignVersion) -> VersionDecision:
    champion, rows = scores.served.champion(version), scores.rows
    against = "" if champion is None else champion.version
    if not rows.label:
        return VersionDecision(version, against, None, "no labels are known")
    places = _labelled(scores, version)
    if not len(places):
        return VersionDecision(version, against, None, "no labelled rows came after it")
    frame = rows.table.select(list(rows.features)).take(places).to_pandas()
    challenger = _on_trial(scores, version, places)
    other = None if champion is None else _on_trial(scores, champion, places)
    key, times = f"adopt/{version.version}", rows.times[places]
    try:
        decision = evaluate(spec, key, frame, rows.labels(places), challenger, other, times=times)
    except GateError as error:
        return VersionDecision(version, against, None, error.problem)
    return VersionDecision(version, against, decision, decision.reason)


def _labelled(scores: VersionScores, version: ForeignVersion) -> NDArray[Any]:
    """Return the places of the rows with a label that came while a version was the newest."""
    known = np.asarray(scores.rows.table[scores.rows.label].is_valid())
    places = np.flatnonzero(scores.served.of(version) & known)
    if len(places) <= _MOST_ROWS:
        return places
    return np.sort(np.random.default_rng(0).choice(places, _MOST_ROWS, replace=False))


def _on_trial(scores: VersionScores, version: ForeignVersion, places: NDArray[Any]) -> EvaluatedModel:
    known = _KnownAnswers(scores.of(version, places), scores.classes)
    return EvaluatedModel(version.version, cast(FittedPipeline, known), "", version=version.version)


class _KnownAnswers:
    """A predictor whose answers are known, row by row of the frame's index."""

    steps: tuple[()] = ()

    def __init__(self, answers: Floats, classes: tuple[str, ...]) -> None:
        self.answers, self.classes_ = answers, np.asarray(classes)

    def predict(self, frame: pd.DataFrame) -> Floats:
        found: Floats = self.answers[frame.index.to_numpy()]
        return found

    def predict_proba(self, frame: pd.DataFrame) -> Floats:
        found = self.predict(frame)
        return found if found.ndim == 2 else np.column_stack([1 - found, found])
