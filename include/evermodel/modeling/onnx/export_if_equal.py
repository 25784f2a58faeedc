"""Export the graph of a logged model, compare it with the model, and store it only if both give the same answers."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.modeling.onnx.encoded import encoded_model
from evermodel.modeling.onnx.encoding import FastPath
from evermodel.modeling.onnx.export import export
from evermodel.modeling.onnx.graph import NotExportableError
from evermodel.modeling.onnx.runtime import FastModel, start, write
from evermodel.registry.model_files import hash_files

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from evermodel.modeling.tasks import FittedPipeline
    from evermodel.registry.client import MlflowClient

TOLERANCE = 1e-6
_TIE = 1e-12  # so close to the cut, the order in which numbers are added decides


@dataclass(frozen=True)
class Agreement:
    """How far apart two sets of answers are.

    Parameters
    ----------
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
    pipeline: FittedPipeline, fast: FastPath, frame: pd.DataFrame, table: pa.Table, threshold: float = 0.5
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


FOLDER = "fastpath"
AGREEMENT_FILE, EXAMPLE_FILE = "agreement.json", "example.json"


@dataclass(frozen=True)
class Kept:
    """The outcome: a graph that answers in the pipeline's place, or why there is none.

    Parameters
    ----------
    fast
        What answers, ready: the graph, or the predictor of a boosting library; None if scikit-learn serves.
    files
        SHA-256 of the files that were added to the model.
    """

    fast: FastPath | None
    note: str
    files: dict[str, str] = field(default_factory=dict)


def keep_if_same(
    client: MlflowClient, uri: str, pipeline: FittedPipeline, frame: pd.DataFrame, threshold: float = 0.5
) -> Kept:
    """Export a logged pipeline, compare it with the original on every row, and log it with the model if both agree.

    Parameters
    ----------
    uri
        The logged model, ``models:/m-...``.
    threshold
        From which on a probability is decided positive.
    """
    import pyarrow as pa

    try:
        exported = export(pipeline)
        fast = start(exported)
        rows = pa.Table.from_pandas(frame, preserve_index=False)
        agreement = compare(pipeline, fast, frame, rows, threshold)
    except NotExportableError as error:
        return _without_graph(pipeline, frame, str(error))
    except ImportError as error:
        return _without_graph(pipeline, frame, f"{error.name} is not installed")
    except Exception as error:  # noqa: BLE001 - the graph is optional: after any failure the pipeline still serves
        return _without_graph(pipeline, frame, f"the graph failed ({type(error).__name__}: {error})")
    if not agreement.holds:
        return _without_graph(
            pipeline,
            frame,
            f"on {agreement.rows} rows the graph differs by up to {agreement.largest:.2g} "
            f"(allowed {TOLERANCE:g}), and in {agreement.decisions} decisions",
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / FOLDER
        write(exported, folder)
        (folder / AGREEMENT_FILE).write_text(json.dumps(agreement.to_json()), encoding="utf-8")
        (folder / EXAMPLE_FILE).write_text(json.dumps(_example(pipeline, frame.head(5))), encoding="utf-8")
        client.log_model_artifacts(uri.removeprefix("models:/"), str(folder), FOLDER)
        files = hash_files(Path(scratch))
    return Kept(
        fast,
        f"ONNX Runtime serves: on {agreement.rows} rows the largest difference is {agreement.largest:.2g} "
        f"(allowed {TOLERANCE:g}), and every decision is the same",
        files,
    )


def _without_graph(pipeline: FittedPipeline, frame: pd.DataFrame, why: str) -> Kept:
    """Return what serves in the graph's place: a boosting library's own predictor, if it answers every row alike."""
    fast = encoded_model(pipeline, frame)
    if fast is None:
        return Kept(None, f"scikit-learn serves: {why}")
    return Kept(fast, f"the library's own predictor serves: {why}")


def holds_example(fast: FastModel, folder: Path) -> bool:
    """Tell whether a graph that was read from its files answers the stored example as its pipeline did."""
    example = json.loads((folder / EXAMPLE_FILE).read_text(encoding="utf-8"))
    rows = [
        tuple(math.nan if v is None and n not in fast.encoding.codes else v for n, v in row)
        for row in example["rows"]
    ]
    answers, wanted = fast.answer(rows), np.array(example["answers"])
    return answers.shape == wanted.shape and bool(
        np.allclose(answers, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    )


def _example(pipeline: FittedPipeline, frame: pd.DataFrame) -> dict[str, Any]:
    answers = pipeline.predict_proba(frame) if hasattr(pipeline, "predict_proba") else pipeline.predict(frame)
    answers = np.asarray(answers, dtype=np.float64).reshape(len(frame), -1)
    kept = answers[:, 1:] if answers.shape[1] == 2 else answers
    rows = [
        [(name, None if value is None or value != value else value) for name, value in row.items()]
        for row in frame.to_dict(orient="records")
    ]
    return {"rows": rows, "answers": kept.tolist()}
