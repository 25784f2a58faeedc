"""What a candidate must be able to do before it is trained every week: one check a line, on rows of the source."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.core.errors import EmptyWindowError, EvermodelError, GateError
from evermodel.core.formats import JsonData
from evermodel.data.dtypes import with_label
from evermodel.data.sources import stream_window
from evermodel.evaluation.behavioral_tests import behavioral_gates
from evermodel.evaluation.evaluated_model import EvaluatedModel, score
from evermodel.evaluation.latency_and_size import measure_speed
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.fitting import TrainingRows, require_labels, rows_from
from evermodel.modeling.skops_files import read_pipeline, write_pipeline
from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.spec.checks import BehaviourChecks
from evermodel.spec.window import training_window, whole_day
from evermodel.stats.weights import fit_arguments, sample_weights

if TYPE_CHECKING:
    from evermodel.modeling.tasks import FittedPipeline
    from evermodel.stats.metrics import Floats

_READ, _USED = 20_000, 2_000  # rows
_BEHAVIOUR = {
    "output": ("row alone", "compute nothing over the rows of a request; learn it in `fit`"),
    "missing values": ("missing values", "impute in a step of the pipeline, or use an estimator that takes missing values"),
    "unseen categories": ("unseen category", "let the encoder ignore what it has not seen (`handle_unknown`)"),
}  # fmt: skip


@dataclass(frozen=True)
class ContractCheck(JsonData):
    """One line: what was tried, whether it works, what was found, and what to do if it does not."""

    name: str
    passed: bool
    detail: str
    advice: str = ""


def contract_rows(spec: ModelSpec, as_of: datetime) -> TrainingRows:
    """Read up to 2,000 labelled rows of the window that a retrain as of a moment reads.

    Raises
    ------
    EmptyWindowError
        There is none.
    TrainingError
        They have one label only.
    """
    import pyarrow as pa

    window, found, count = training_window(spec, whole_day(as_of)), [], 0
    with stream_window(spec, window, with_label=True, in_order=False) as batches:
        for batch in batches:
            found.append(with_label(spec, pa.Table.from_batches([batch])))
            count += found[-1].num_rows
            if count >= _READ:
                break
    if count == 0:
        raise EmptyWindowError(
            f"model {spec.name}: the source has no labeled row in {window}",
            "set --as-of to a day that has data before it",
        )
    table = pa.concat_tables(found)
    rows = rows_from(spec, table.take(np.arange(0, count, max(1, count // _USED))[:_USED]))
    require_labels(spec, rows, f"sample of {window}", "--as-of")
    return rows


def check_contract(spec: ModelSpec, candidate: CandidateSpec, rows: TrainingRows) -> Iterator[ContractCheck]:
    """Build, clone, fit, ask, store and load a candidate, and give it inputs that production will.

    Checks that need one that failed are left out.
    """
    trial = _Trial(spec, candidate, rows)
    for name, advice, act in (
        ("build", "correct `estimator` and `params`", trial.build),
        ("clone", "keep every argument of `__init__` unchanged as an attribute of its name (BaseEstimator)", trial.clone),
        ("fit", "correct `params`, or what `fit` does with the rows", trial.fit),
        ("predict", "return one finite number, or one probability a class, for each row", trial.predict),
    ):  # fmt: skip
        line = _tried(name, advice, act)
        yield line
        if not line.passed:
            return
    yield _tried(
        "fit again", "take a seed as `random_state`, and use no other source of chance", trial.fit_again
    )
    yield _tried(
        "store and load",
        "keep fitted state in plain attributes: numbers, texts, arrays, estimators",
        trial.store,
    )
    yield from trial.behaviour()
    yield _tried("time", "see the log", trial.time)


def _tried(name: str, advice: str, act: Callable[[], str]) -> ContractCheck:
    try:
        return ContractCheck(name, True, act())
    except EvermodelError as error:
        return ContractCheck(name, False, error.problem, error.advice)
    except Exception as error:  # noqa: BLE001 - whatever a user's code throws is this line's result
        return ContractCheck(name, False, f"{type(error).__name__}: {error}", advice)


class _Trial:
    """One candidate between its checks."""

    pipeline: FittedPipeline
    answers: Floats

    def __init__(self, spec: ModelSpec, candidate: CandidateSpec, rows: TrainingRows) -> None:
        self.spec, self.candidate, self.rows = spec, candidate, rows

    def build(self) -> str:
        self.unfitted: Any = build_pipeline(self.spec, self.candidate)
        return " → ".join(type(step).__name__ for _, step in self.unfitted.steps if step != "passthrough")

    def clone(self) -> str:
        from sklearn.base import clone

        again = clone(self.unfitted)
        return f"{len(again.get_params())} parameters"

    def fit(self) -> str:
        start = time.perf_counter()
        self.pipeline = self._fitted()
        return f"{len(self.rows.labels):,} rows in {time.perf_counter() - start:.1f} s"

    def predict(self) -> str:
        self.answers = self._ask(self.pipeline)
        if len(self.answers) != len(self.rows.labels):
            raise GateError(
                f"{len(self.answers)} answers for {len(self.rows.labels)} rows", "return one a row"
            )
        return f"answers from {self.answers.min():.4g} to {self.answers.max():.4g}"

    def fit_again(self) -> str:
        different = int((self._ask(self._fitted()) != self.answers).sum())
        if different:
            raise ValueError(f"{different} answers differ after a second fit on the same rows")
        return "the same rows give the same model"

    def store(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "pipeline.skops")
            write_pipeline(self.pipeline, file, self.spec.own_code)
            again = read_pipeline(file, self.spec.own_code)
            size = file.stat().st_size
        different = int((self._ask(again) != self.answers).sum())
        if different:
            raise ValueError(f"{different} answers of the loaded model differ")
        return f"{size / 1e6:.2f} MB, the same answers"

    def behaviour(self) -> Iterator[ContractCheck]:
        gate = self.spec.gate.model_copy(update={"behaviour": BehaviourChecks(missing=True, unseen=True)})
        tried = self.spec.model_copy(update={"gate": gate})
        model = EvaluatedModel(self.candidate.name, self.pipeline, "")
        for found in behavioral_gates(
            tried, self.rows.frame, self.answers, lambda frame: score(tried, model, frame)
        ):
            name, advice = _BEHAVIOUR[found.name]
            passed = found.verdict != "fail"
            yield ContractCheck(name, passed, found.detail, "" if passed else advice)

    def time(self) -> str:
        speed = measure_speed(self.spec, self.pipeline, self.rows.frame)
        return f"{speed.p50_ms:.2f} ms for a row alone, {speed.rows_per_second:,.0f} rows a second, without a graph"

    def _fitted(self) -> Any:
        pipeline = build_pipeline(self.spec, self.candidate)
        weights = sample_weights(self.spec.training, self.rows.labels, self.rows.times)
        arguments = fit_arguments(self.candidate.name, pipeline, weights)
        return pipeline.fit(self.rows.frame, self.rows.labels, **arguments)

    def _ask(self, pipeline: FittedPipeline) -> Floats:
        return score(self.spec, EvaluatedModel(self.candidate.name, pipeline, ""), self.rows.frame)
