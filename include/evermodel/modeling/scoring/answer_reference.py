"""What a version keeps of its test window, so that serving can say how sure an answer is, and why."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.formats import JsonData, stamped
from evermodel.modeling.kept_file import read_kept
from evermodel.modeling.scoring.request_rows import Row

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from evermodel.spec import ModelSpec
    from evermodel.stats.metrics import Floats

FILE = "answer_reference.json"
_BACKGROUND = 50  # rows that an explained one is compared with


@dataclass(frozen=True)
class AnswerReference(JsonData):
    """What a version keeps of its test window.

    Parameters
    ----------
    coverage, quantile, rows
        The share of truths inside the sets or intervals, the conformal quantile for it, and the rows that it is from; no
        quantile without the spec's `serving.coverage`, or with too few rows.
    background
        Rows that attributions compare with, in the order of ``features``; empty without `serving.explain`.
    """

    coverage: float | None = None
    quantile: float | None = None
    rows: int = 0
    features: tuple[str, ...] = ()
    background: tuple[Row, ...] = ()


def make_reference(
    spec: ModelSpec, features: pd.DataFrame, labels: NDArray[Any], scores: Floats
) -> AnswerReference:
    """Return what a version keeps of rows that it was not fitted on, as far as the spec asks for it.

    Parameters
    ----------
    labels, scores
        As the metrics take them.
    """
    import numpy as np

    from evermodel.stats.conformal import conformal_quantile, nonconformity

    wanted, names = spec.serving, tuple(spec.features.names)
    quantile = None
    if wanted.coverage is not None:
        answers = np.column_stack([1 - scores, scores]) if spec.task == "binary" else scores
        found = conformal_quantile(nonconformity(labels, answers), wanted.coverage)
        quantile = found if math.isfinite(found) else None
    background: tuple[Row, ...] = ()
    if wanted.explain:
        chosen = features.sample(min(_BACKGROUND, len(features)), random_state=spec.seed)[list(names)]
        plain = chosen.astype(object).where(chosen.notna(), None)
        background = tuple(plain.itertuples(index=False, name=None))
    return AnswerReference(wanted.coverage, quantile, len(labels), names, background)


def write_reference(reference: AnswerReference, folder: Path) -> None:
    """Write what `read_reference` reads."""
    (folder / FILE).write_text(json.dumps(stamped(reference.to_json())), encoding="utf-8")


def read_reference(folder: Path) -> AnswerReference | None:
    """Return what a downloaded model keeps; None if it keeps nothing.

    Raises
    ------
    ModelFormatError
        The file is damaged.
    """
    return read_kept(folder / FILE, "cannot be read", _reference_of)


def _reference_of(kept: dict[str, Any]) -> AnswerReference:
    kept["features"], kept["background"] = tuple(kept["features"]), tuple(map(tuple, kept["background"]))
    return AnswerReference(**kept)
