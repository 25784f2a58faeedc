"""Export the graph of a logged model, and store it only if it gives the same answers."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.modeling.onnx.agreement import TOLERANCE, compare
from evermodel.modeling.onnx.export import export
from evermodel.modeling.onnx.graph import NotExportableError
from evermodel.modeling.onnx.runtime import FastModel, start, write
from evermodel.registry.model_files import hash_files

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.modeling.tasks import FittedPipeline
    from evermodel.registry.client import MlflowClient

FOLDER = "fastpath"
AGREEMENT_FILE, EXAMPLE_FILE = "agreement.json", "example.json"


@dataclass(frozen=True)
class Kept:
    """The outcome: a graph that answers in the pipeline's place, or why there is none.

    Parameters
    ----------
    fast
        The graph, ready to answer; None if scikit-learn serves.
    note
        One sentence.
    files
        SHA-256 of the files that were added to the model.
    """

    fast: FastModel | None
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
    frame
        The test window, as `evermodel.modeling.frames.feature_frame` gives it.
    threshold
        At which the spec takes decisions (`performance.threshold`).
    """
    import pyarrow as pa

    try:
        exported = export(pipeline)
        fast = start(exported)
        rows = pa.Table.from_pandas(frame, preserve_index=False)
        agreement = compare(pipeline, fast, frame, rows, threshold)
    except NotExportableError as error:
        return Kept(None, f"scikit-learn serves: {error}")
    except ImportError as error:
        return Kept(None, f"scikit-learn serves: {error.name} is not installed")
    except Exception as error:  # noqa: BLE001 - the graph is optional: after any failure the pipeline still serves
        return Kept(None, f"scikit-learn serves: the graph failed ({type(error).__name__}: {error})")
    if not agreement.holds:
        return Kept(
            None,
            f"scikit-learn serves: on {agreement.rows} rows the graph differs by up to {agreement.largest:.2g} "
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


def holds_example(fast: FastModel, folder: Path) -> bool:
    """Tell whether a graph that was read from its files answers the stored example as its pipeline did.

    Parameters
    ----------
    folder
        Where `keep_if_same` put the files.
    """
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
