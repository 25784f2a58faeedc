"""A model under evaluation, and its answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evermodel.core.errors import GateError
from evermodel.modeling.tasks import FittedPipeline, predict, sound
from evermodel.spec import ModelSpec
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.modeling.onnx.encoding import FastPath


# What a model may throw when its input is not what it was trained on.
ANSWER_ERRORS = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class EvaluatedModel:
    """A model on trial.

    Parameters
    ----------
    name
        Candidate's name for the challenger, version for the champion.
    fast
        Its graph (`evermodel.modeling.onnx`), if it has one that gives the same answers.
    files
        SHA-256 of its files; empty if it is stored nowhere.
    version
        In the registry; empty for a challenger.
    threshold
        From which on a probability is decided positive, as chosen when it was trained; None without a rule.
    """

    name: str
    pipeline: FittedPipeline
    uri: str
    size_bytes: int = 0
    fast: FastPath | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    threshold: float | None = None


def threshold_of(spec: ModelSpec, model: EvaluatedModel) -> float:
    """Return the threshold of a model's decisions; that of the spec for one that has none of its own."""
    return spec.performance.threshold if model.threshold is None else model.threshold


def score(
    spec: ModelSpec, model: EvaluatedModel, features: pd.DataFrame, classes: tuple[str, ...] = ()
) -> Floats:
    """Return a model's answers as `evermodel.modeling.tasks.predict` gives them.

    Raises
    ------
    GateError
        The model raises, or returns a value that the task does not allow.
    """
    try:
        values = predict(spec, model.pipeline, features, classes)
    except ANSWER_ERRORS as error:
        raise GateError(
            f"{model.name} cannot score the test window: {error}",
            "compare the features of the spec with the model's training features; retrain if they changed",
        ) from error
    if not sound(spec, values):
        wanted = "finite numbers" if spec.numeric_answers else "probabilities"
        raise GateError(f"{model.name} returns values that are not {wanted}", "train another candidate")
    return values
