"""Agreement of a graph with its pipeline."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.modeling.onnx.runtime import FastModel

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from evermodel.modeling.tasks import FittedPipeline

TOLERANCE = 1e-6
_TIE = 1e-12  # so close to the cut, the order in which numbers are added decides


@dataclass(frozen=True)
class Agreement:
    """How far apart two sets of answers are.

    Parameters
    ----------
    rows
        Rows that were compared.
    largest
        Largest difference of any probability or, for a regression, of any value in units of the answers' spread.
    decisions
        Rows whose decision (the class, by the threshold or the likeliest) differs, exact ties left out.
    """

    rows: int
    largest: float
    decisions: int

    @property
    def holds(self) -> bool:
        """True if the graph may replace the pipeline."""
        return self.rows > 0 and self.largest <= TOLERANCE and self.decisions == 0

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {**asdict(self), "tolerance": TOLERANCE, "holds": self.holds}


def compare(
    pipeline: FittedPipeline, fast: FastModel, frame: pd.DataFrame, table: pa.Table, threshold: float = 0.5
) -> Agreement:
    """Ask both for the same rows.

    Parameters
    ----------
    frame, table
        The rows as the pipeline and as the graph take them.
    threshold
        Probability from which on a binary answer is the second class.
    """
    answers = fast.answer_table(table)
    if not hasattr(pipeline, "predict_proba"):
        wanted = np.asarray(pipeline.predict(frame), dtype=np.float64)
        spread = float(wanted.std()) or 1.0
        return Agreement(len(wanted), _largest(answers[:, 0], wanted) / spread, 0)
    wanted = np.asarray(pipeline.predict_proba(frame), dtype=np.float64)
    if wanted.shape[1] == 2:
        found, wanted = answers[:, 0], wanted[:, 1]
        differ = ((found >= threshold) != (wanted >= threshold)) & (np.abs(wanted - threshold) > _TIE)
    else:
        found = answers
        differ = found.argmax(axis=1) != wanted.argmax(axis=1)
    return Agreement(len(wanted), _largest(found, wanted), int(differ.sum()))


def _largest(found: Any, wanted: Any) -> float:
    return float(np.abs(found - wanted).max(initial=0.0))
