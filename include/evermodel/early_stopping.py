"""As many boosting iterations as are best on rows that come later than the fitted ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.tasks import classes_of, encode, predict, primary

if TYPE_CHECKING:
    import pandas as pd

ITERATIONS = "max_iter"


@dataclass(frozen=True)
class Stage:
    """What a model answers after some of its iterations, in the shape of a model."""

    iterations: int
    answers: Any
    classes_: Any = None

    def predict(self, frame: pd.DataFrame) -> Any:
        """Return the answers of a regression."""
        del frame  # the answers belong to the rows that the stage was made for
        return self.answers

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """Return the answers of a classification."""
        del frame
        return self.answers


def can_stop_early(candidate: CandidateSpec) -> bool:
    """Tell whether a candidate's iterations can be chosen afterwards."""
    return candidate.estimator.rpartition(".")[2].startswith("HistGradientBoosting")


def stops_early(spec: ModelSpec, candidate: CandidateSpec, params: Mapping[str, Any]) -> bool:
    """Tell whether iterations are chosen here; a candidate that asks for scikit-learn's own way is left alone."""
    asked = spec.training.early_stopping and can_stop_early(candidate)
    return asked and params.get("early_stopping") in (None, False)


def best_stage(spec: ModelSpec, pipeline: Any, frame: pd.DataFrame, labels: NDArray[Any]) -> Stage:
    """Return the stage with the best primary metric; the earliest of equal ones.

    Parameters
    ----------
    pipeline
        Fitted preprocessing and histogram boosting.
    frame, labels
        Rows later than those that it was fitted on.
    """
    metric = primary(spec)
    estimator = pipeline[-1]
    rows = pipeline[:-1].transform(frame)
    stages = estimator.staged_predict if spec.task == "regression" else estimator.staged_predict_proba
    known = getattr(estimator, "classes_", None)
    best, best_value = None, 0.0
    for number, answers in enumerate(stages(rows), start=1):
        stage = Stage(number, answers, known)
        classes = classes_of(spec, labels, stage)
        value = metric(encode(labels, classes), predict(spec, stage, frame, classes))
        if best is None or metric.gain(value, best_value) > 0:
            best, best_value = stage, value
    assert best is not None
    return best
