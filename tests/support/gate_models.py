"""Rows and models for tests of the gates: a model is a formula over the features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from evermodel.evaluation.decision import Decision, Gate
from evermodel.evaluation.evaluate import evaluate
from evermodel.evaluation.evaluated_model import EvaluatedModel
from support.small_spec import small_spec

Formula = Callable[[pd.DataFrame], Any]


class Model:
    """A pipeline whose answers are a formula; it knows as little of the spec as any other pipeline."""

    classes_ = np.array([0, 1])

    def __init__(self, formula: Formula) -> None:
        self.formula = formula

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        return np.asarray(self.formula(frame), dtype=float)

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray:
        scores = self.predict(frame)
        return np.stack([1 - scores, scores], axis=1)


def window(rows: int = 1200, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of which `amount` says much about the label, `age` nothing, and `colour` names four groups of unequal size."""
    generator = np.random.default_rng(seed)
    labels = (generator.random(rows) < 0.4).astype(np.int8)
    frame = pd.DataFrame(
        {
            "amount": labels + generator.normal(size=rows),
            "age": generator.integers(20, 60, size=rows).astype(float),
            "colour": generator.choice(["red", "green", "blue"], p=[0.5, 0.35, 0.15], size=rows).astype(
                object
            ),
        }
    )
    frame.loc[:9, "colour"] = "white"
    return frame, labels


def squashed(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def skilled(frame: pd.DataFrame) -> Any:
    return squashed(frame["amount"].fillna(0.5) - 0.5)


def noisier(frame: pd.DataFrame, blur: float = 1.0, seed: int = 1) -> Any:
    """As skilled as its noise allows; the noise belongs to the row, so that asking again gives the same answer."""
    rows = (frame["amount"].fillna(0) * 1e6).astype(np.int64).to_numpy()
    noise = np.array([np.random.default_rng((seed, abs(int(row)))).normal() for row in rows])
    return squashed(frame["amount"].fillna(0.5) + blur * noise)


def judged(
    challenger: Formula,
    champion: Formula | None = None,
    rows: tuple[pd.DataFrame, np.ndarray] | None = None,
    sections: dict[str, Any] | None = None,
    times: np.ndarray | None = None,
    **gate: Any,
) -> Decision:
    features, labels = rows or window()
    spec = small_spec(gate={"resamples": 400, "margin": 0.02, **gate}, **(sections or {}))
    return evaluate(
        spec,
        "key",
        features,
        labels,
        EvaluatedModel("linear", Model(challenger), "models:/m-1", 1_000_000),
        None
        if champion is None
        else EvaluatedModel("version 3", Model(champion), "models:/m/3", version="3"),
        times=times,
    )


def gate_of(decision: Decision, name: str) -> Gate:
    found = [gate for gate in decision.gates if gate.name == name]
    assert len(found) == 1, [gate.name for gate in decision.gates]
    return found[0]
