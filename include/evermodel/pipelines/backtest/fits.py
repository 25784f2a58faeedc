"""The result of a retrain as of a day: fitted and evaluated once for all policies."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from evermodel.core.atomic import write_text
from evermodel.core.errors import EvermodelError, PermanentError, TrainingError
from evermodel.core.time_limit import run_limited
from evermodel.data.snapshots.snapshot import extract
from evermodel.data.validation.quarantine import clean_snapshot
from evermodel.data.validation.validator import validate
from evermodel.evaluation.decision import Decision
from evermodel.evaluation.evaluate import EvaluatedModel, evaluate
from evermodel.modeling.fitting import Chosen, TrainingJob, TrainingRows, rows_from, training_job
from evermodel.modeling.skops_files import read_pipeline, write_pipeline
from evermodel.modeling.training import TrainedCandidate, best_of
from evermodel.pipelines.backtest.plan import Plan
from evermodel.spec import ModelSpec
from evermodel.spec.training import CandidateSpec
from evermodel.spec.window import Window, WindowSplit, parse_moment, split_window, training_window

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.modeling.tasks import FittedPipeline

T = TypeVar("T")
_COSTS = ("max_latency_ms", "max_latency_p99_ms", "min_rows_per_second", "max_size_mb")


@dataclass(frozen=True)
class Challenger:
    """What a retrain brought.

    Parameters
    ----------
    folder
        Where its model is, if it brought one.
    snapshot
        The rows that it was made from.
    candidate, metric, validation
        The best candidate, and the metric by which it was chosen.
    seconds
        What fitting took of the processor of the machine that did it.
    refused
        Why there is no model; empty if there is one.
    threshold
        From which on a probability is decided positive; None without a rule for decisions.
    """

    as_of: str
    folder: str
    snapshot: str
    candidate: str
    metric: str
    validation: float
    rows: int
    seconds: float
    refused: str = ""
    threshold: float | None = None

    @property
    def moment(self) -> datetime:
        """Day of the retrain."""
        return parse_moment(self.as_of)

    @property
    def version(self) -> str:
        """How the prediction log and the tables name it."""
        return f"{self.moment:%Y-%m-%d}"

    @property
    def key(self) -> str:
        """Identifies the model."""
        return Path(self.folder).name

    def parts(self, spec: ModelSpec) -> WindowSplit:
        """Return its train, validation and test windows."""
        return split_window(spec, self.moment)

    def read(self, spec: ModelSpec, window: Window) -> pa.Table:
        """Return the rows of a part of its snapshot."""
        import pyarrow.parquet as pq

        return pq.read_table(
            self.snapshot,
            filters=window.filter(spec.time_column),
            partitioning=None,
        )

    def pipeline(self, spec: ModelSpec) -> FittedPipeline:
        """Load the model."""
        return read_pipeline(Path(self.folder) / "pipeline.skops", spec.own_code)


@dataclass(frozen=True)
class Fits:
    """The retrains of one backtest."""

    plan: Plan

    @cached_property
    def judging(self) -> ModelSpec:
        """The spec without gates of latency and size, which depend on the machine."""
        off: dict[str, Any] = dict.fromkeys(_COSTS)
        return self.plan.spec.model_copy(update={"gate": self.plan.spec.gate.model_copy(update=off)})

    def challenger(self, as_of: datetime) -> Challenger:
        """Return the result of a retrain as of a day, from the work folder or computed."""
        world = self.plan.history.at(as_of)
        lake = self.plan.work / "retrains"
        try:
            file, rows = extract(world.spec, training_window(world.spec, as_of), lake)
        except PermanentError as error:
            return self._refused(as_of, "", 0, error)
        folder = lake / f"{as_of:%Y-%m-%d}-{self.plan.fit_key(file.stem)}"
        note = folder / "challenger.json"
        with _locked(folder):
            if not note.exists():
                try:
                    made = self._made(as_of, folder, file)
                except PermanentError as error:
                    made = self._refused(as_of, str(file), rows, error)
                write_text(note, json.dumps(asdict(made), indent=2))
        kept = Challenger(**json.loads(note.read_text(encoding="utf-8")))
        # The work folder may have been moved since.
        place = str(file.with_name(Path(kept.snapshot).name))
        return replace(kept, folder=str(folder) if kept.folder else "", snapshot=place)

    def judged(self, challenger: Challenger, champion: Challenger | None) -> Decision | str:
        """Return the gate's decision on a challenger, or why there is none."""
        if challenger.refused:
            return challenger.refused
        against = champion.key if champion else "nobody"
        note = Path(challenger.folder) / f"decision-{against}-{self.plan.gate_key}.json"
        with _locked(Path(challenger.folder)):
            if not note.exists():
                try:
                    text = json.dumps(self._judged(challenger, champion).to_json())
                except PermanentError as error:
                    text = json.dumps(error.problem)
                write_text(note, text)
        found = json.loads(note.read_text(encoding="utf-8"))
        return found if isinstance(found, str) else Decision.from_json(found)

    def _made(self, as_of: datetime, folder: Path, file: Path) -> Challenger:
        spec = self.plan.spec
        window = training_window(spec, as_of)
        found = validate(spec, file, window=window)
        found.report.require()
        if found.report.set_aside:
            file, _ = clean_snapshot(file, found.rules, (spec.time_column, spec.id_column))
        blank = Challenger(as_of.isoformat(), str(folder), str(file), "", spec.gate.metric, 0.0, 0, 0.0)
        began = _processor_seconds()
        trained = [one for one in map(lambda c: self._chosen(c, blank), spec.candidates) if one]
        best = best_of(spec, trained)
        candidate = next(c for c in spec.candidates if c.name == best.candidate)
        bench = training_job(spec, candidate, as_of, self._reader(blank))
        pipeline = run_limited(
            _alone(lambda: bench.ship(best.params)), candidate.time_limit.total_seconds(), _told(bench)
        )
        seconds = _processor_seconds() - began
        write_pipeline(pipeline, folder / "pipeline.skops", spec.own_code)
        return replace(
            blank,
            candidate=best.candidate,
            validation=best.validation,
            rows=blank.read(spec, window).num_rows,
            seconds=round(seconds, 3),
            threshold=bench.threshold(best.threshold, pipeline),
        )

    def _chosen(self, candidate: CandidateSpec, blank: Challenger) -> TrainedCandidate | None:
        """Measure a candidate; one that cannot be trained is dropped."""
        spec = self.plan.spec
        try:
            bench = training_job(spec, candidate, blank.moment, self._reader(blank))
            found: Chosen = run_limited(
                _alone(lambda: bench.choose(lambda trial: None)),
                candidate.time_limit.total_seconds(),
                _told(bench),
            )
        except TrainingError:
            return None
        metric = spec.gate.metric
        value = found.metrics[metric]
        return TrainedCandidate(candidate.name, "", "", metric, value, found.params, found.last_threshold)

    def _reader(self, challenger: Challenger) -> Callable[[Window], TrainingRows]:
        def read(window: Window) -> TrainingRows:
            return rows_from(self.plan.spec, challenger.read(self.plan.spec, window))

        return read

    def _judged(self, challenger: Challenger, champion: Challenger | None) -> Decision:
        spec = self.judging
        test = challenger.parts(spec).test
        rows = rows_from(spec, challenger.read(spec, test))
        saw = 0.0
        replaced = None
        if champion is not None:
            fitted = champion.parts(spec).fit
            saw = max(0.0, (min(fitted.end, test.end) - test.start) / (test.end - test.start))
            replaced = _evaluated(spec, champion, champion.version)
        own = _evaluated(spec, challenger, challenger.candidate)
        with one_thread():
            return evaluate(
                spec,
                f"backtest/{challenger.version}",
                rows.frame,
                rows.labels,
                own,
                replaced,
                times=rows.times,
                champion_saw=saw,
                described=rows.described,
            )

    def _refused(self, as_of: datetime, file: str, rows: int, error: EvermodelError) -> Challenger:
        why = error.problem.split("\n", maxsplit=1)[0]
        return Challenger(as_of.isoformat(), "", file, "", self.plan.spec.gate.metric, 0.0, rows, 0.0, why)


def _processor_seconds() -> float:
    """Return the processor time of this process and its children."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, because split sums differ in their last bits."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield


def _alone(work: Callable[[], T]) -> Callable[[object], T]:
    def limited(emit: object) -> T:
        with one_thread():
            return work()

    return limited


def _told(bench: TrainingJob) -> str:
    return f"model {bench.spec.name}: candidate {bench.candidate.name}"


def _evaluated(spec: ModelSpec, made: Challenger, name: str) -> EvaluatedModel:
    return EvaluatedModel(name, made.pipeline(spec), made.key, threshold=made.threshold)
