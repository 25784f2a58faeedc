"""Make the graph of a logged model, and keep it beside the model only if it gives the same answers."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.fastpath.agreement import TOLERANCE, compare
from evermodel.fastpath.export import export
from evermodel.fastpath.graph import NotExportableError
from evermodel.fastpath.runtime import FastModel, start, write

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

FOLDER = "fastpath"
AGREEMENT_FILE = "agreement.json"


@dataclass(frozen=True)
class Kept:
    """The outcome: a graph that answers in the pipeline's place, or why there is none.

    Parameters
    ----------
    fast
        The graph, ready to answer; None if scikit-learn serves.
    note
        One sentence.
    """

    fast: FastModel | None
    note: str


def keep_if_same(client: MlflowClient, uri: str, pipeline: Any, frame: pd.DataFrame) -> Kept:
    """Export a logged pipeline, hold it against the original on every row, and log it beside the model if it holds.

    Parameters
    ----------
    uri
        The logged model, ``models:/m-...``.
    frame
        The test window, as `evermodel.frames.feature_frame` gives it.
    """
    import pyarrow as pa

    try:
        exported = export(pipeline)
        fast = start(exported.graph, exported.encoding)
        agreement = compare(pipeline, fast, frame, pa.Table.from_pandas(frame, preserve_index=False))
    except NotExportableError as error:
        return Kept(None, f"scikit-learn serves: {error}")
    except ImportError as error:
        return Kept(None, f"scikit-learn serves: {error.name} is not installed")
    except Exception as error:  # noqa: BLE001 - a graph is a bonus: whatever it trips over, the pipeline still serves
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
        client.log_model_artifacts(uri.removeprefix("models:/"), str(folder), FOLDER)
    return Kept(
        fast,
        f"ONNX Runtime serves: on {agreement.rows} rows the largest difference is {agreement.largest:.2g} "
        f"(allowed {TOLERANCE:g}), and every decision is the same",
    )
