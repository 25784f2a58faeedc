"""Train a stored model again in a separate process, and compare its answers with the stored ones.

Started by `evermodel.pipelines.reproduce` with the path of a job; prints nothing, writes the comparison beside the job.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from evermodel.core.atomic import write_text
from evermodel.core.settings import Settings
from evermodel.modeling import tasks
from evermodel.modeling.model_store import load_files
from evermodel.modeling.training import fit_final, rows_of
from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.spec.window import split_window, whole_day


def main(job_file: Path) -> None:
    """Do the job of a file and write the comparison to ``comparison.json`` beside it."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    spec = ModelSpec.model_validate(job["spec"])
    candidate = CandidateSpec.model_validate(job["candidate"])
    settings = Settings.from_environment().model_copy(update={"lake": Path(job["lake"])})
    as_of = whole_day(datetime.fromisoformat(job["as_of"]))
    again = fit_final(spec, candidate, snapshot=job["snapshot"], as_of=as_of, settings=settings)
    stored = load_files(Path(job["model"]), spec.own_code).pipeline
    features = rows_of(spec, job["snapshot"], split_window(spec, as_of).test, settings).frame
    compared = compare_answers(tasks.predict(spec, stored, features), tasks.predict(spec, again, features))
    compared["parameters"] = parameter_differences(stored, again)
    write_text(job_file.with_name("comparison.json"), json.dumps(compared))


def compare_answers(stored: np.ndarray[Any, Any], again: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Compare two sets of answers bit for bit.

    Returns
    -------
    ``rows``, ``different_rows``, ``largest_difference``, and ``digits``: in how many decimal digits all answers agree, relative
    to the largest one. The last two are None where the answers have different shapes, and ``digits`` where all are the same.
    """
    rows = len(stored)
    if stored.shape != again.shape:
        return {"rows": rows, "different_rows": rows, "largest_difference": None, "digits": None}
    flat = (stored.reshape(rows, -1), again.reshape(rows, -1))
    different = (flat[0].view(np.uint64) != flat[1].view(np.uint64)).any(axis=1)
    gap = float(np.abs(stored - again).max()) if rows else 0.0
    digits = int(-np.log10(min(1.0, gap / np.abs(stored).max()))) if 0 < gap < np.inf else None
    return {"rows": rows, "different_rows": int(different.sum()), "largest_difference": gap, "digits": digits}


def parameter_differences(stored: object, again: object) -> list[str]:
    """List the parameters in which two pipelines differ, seeds included."""
    then, now = _plain_params(stored), _plain_params(again)
    return [
        f"parameter {name}: {then.get(name, 'none')!r} then, {now.get(name, 'none')!r} now"
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def _plain_params(pipeline: Any) -> dict[str, Any]:
    return {name: value for name, value in pipeline.get_params().items() if _plain(value)}


def _plain(value: object) -> bool:
    if isinstance(value, list):
        return all(_plain(part) for part in value)
    # NaN, which stands for a missing category on both sides, is not equal to itself.
    return value is None or (isinstance(value, bool | int | float | str) and value == value)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
