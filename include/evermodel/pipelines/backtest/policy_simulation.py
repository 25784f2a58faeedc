"""One champion in a backtest: its daily answers, and the verdict on each window while it serves."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from evermodel.core.atomic import write_text
from evermodel.core.errors import EmptyWindowError
from evermodel.data.dtypes import feature_frame
from evermodel.data.prediction_log import log_schema, plain_file, read_log, write_plain_day
from evermodel.data.sources import read_window
from evermodel.modeling.tasks import scores_and_classes
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.performance.answers import clusters_in, level
from evermodel.monitoring.performance.baseline import Baseline, answered_rows
from evermodel.monitoring.performance.label_join import spans_of
from evermodel.monitoring.problems import Problem
from evermodel.monitoring.verdict import MonitoredChampion, judge_day
from evermodel.pipelines.backtest.fits import Challenger, one_thread
from evermodel.pipelines.backtest.plan import ONE_DAY, Plan
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.modeling.tasks import FittedPipeline

_NO_SERVING = Problem("serving", "none", "a replay has no serving app", known=False)


@dataclass
class PolicySimulation:
    """A champion and the prediction log as it would be if it served from its day on.

    Days before its own are those of the first champion: what a verdict says of a version depends on the features of
    those days, which are the same whoever answered, and on the version's own answers alone.

    Parameters
    ----------
    first
        The simulation of the first champion; None if this is it.
    """

    plan: Plan
    challenger: Challenger
    first: PolicySimulation | None = None
    _answered: datetime | None = field(default=None, repr=False)

    @property
    def version(self) -> str:
        """How the log names the champion."""
        return self.challenger.version

    @cached_property
    def lake(self) -> Path:
        """Folder of the log, of profiles and of the labels seen."""
        began = self.first.challenger.key if self.first else self.challenger.key
        key = hashlib.sha256(f"{self.plan.verdict_key} {began} {self.challenger.key}".encode()).hexdigest()[
            :16
        ]
        return self.plan.work / "lanes" / f"{self.version}-{key}"

    def answers(self, window: Window) -> pa.Table:
        """Return the champion's answers in an interval, whether it serves then or not."""
        self._answer_until(window.end)
        return read_log(self.plan.spec, self.lake, window)

    def evaluate(self, as_of: datetime, incident_days: frozenset[date]) -> DriftVerdict | None:
        """Return the verdict on the window that ends at a moment; None if it has no row.

        Parameters
        ----------
        incident_days
            Days on which something other than drift was wrong, by the verdicts before.
        """
        days = ",".join(sorted(day.isoformat() for day in incident_days))
        key = hashlib.sha256(days.encode()).hexdigest()[:12]
        note = self.lake / "verdicts" / f"{as_of:%Y-%m-%d}-{key}.json"
        if not note.exists():
            self._answer_until(as_of)
            with self._locked(), one_thread():
                found = self._evaluate(as_of, incident_days)
            write_text(note, json.dumps(found))
        kept = json.loads(note.read_text(encoding="utf-8"))
        return None if kept is None else DriftVerdict.from_json(kept)

    def _evaluate(self, as_of: datetime, incident_days: frozenset[date]) -> dict[str, Any] | None:
        spec = self._watching(as_of)
        try:
            verdict, _ = judge_day(
                spec,
                self.lake,
                as_of,
                self._watched,
                was_calm=lambda day: day not in incident_days,
                serving=_NO_SERVING,
            )
        except EmptyWindowError:
            return None
        kept = verdict.to_json()
        # What is drawn of a column is not needed again, and is most of the text.
        kept["columns"] = [{**column, "bins": ()} for column in kept["columns"]]
        return kept

    def _watching(self, as_of: datetime) -> ModelSpec:
        """Return the known data, without parts that no policy uses."""
        world = self.plan.history.at(as_of).spec
        watch = world.performance.model_copy(update={"estimate": False, "business": {}})
        return world.model_copy(update={"performance": watch})

    @cached_property
    def _watched(self) -> MonitoredChampion:
        spec, challenger = self.plan.spec, self.challenger
        parts = challenger.parts(spec)
        tested = answered_rows(spec, self._pipeline, challenger.read(spec, parts.test), challenger.threshold)
        promise = Baseline(self.version, level(spec, tested, clusters=clusters_in(spec, tested)), tested)
        return MonitoredChampion(self.version, challenger.read(spec, parts.fit), parts.fit, promise)

    @cached_property
    def _pipeline(self) -> FittedPipeline:
        return self.challenger.pipeline(self.plan.spec)

    def _answer_until(self, end: datetime) -> None:
        """Have the log reach up to a day."""
        if self._answered is not None and end <= self._answered:
            return
        if self.first is not None:
            self.first._answer_until(end)
        with self._locked(), one_thread():
            day = self._answered or self.plan.start
            missing = []
            while day < end:
                file = self._file(day)
                if not file.exists():
                    missing.append(day)
                day += ONE_DAY
            before = [day for day in missing if day < self.challenger.moment]
            for day in before:
                self._take_over(day)
            self._answer([day for day in missing if day not in before])
        self._answered = end

    def _answer(self, days: list[datetime]) -> None:
        """Score whole days at once, and write them one by one."""
        import pyarrow as pa

        if not days:
            return
        spec = self.plan.spec
        whole = self._features(Window(days[0], days[-1] + ONE_DAY))
        if whole.num_rows == 0:
            return
        scores, predicted = scores_and_classes(
            spec, self._pipeline, feature_frame(spec, whole), self.challenger.threshold
        )
        count = whole.num_rows
        names = pa.nulls(count, pa.string()) if predicted is None else pa.array(predicted, pa.string())
        for name, values in (
            ("model_version", pa.array([self.version] * count, pa.string())),
            ("score", pa.array(scores.tolist(), pa.float64())),
            ("predicted", names),
        ):
            whole = whole.set_column(whole.column_names.index(name), name, values)
        for day, table in spans_of(whole).items():
            if day in days:
                write_plain_day(spec, self.lake, f"{day:%Y-%m-%d}", table)

    def _features(self, window: Window) -> pa.Table:
        """Return rows in the schema of the log, as they were known when the day of each was over."""
        import pyarrow as pa

        if self.first is not None:
            return read_log(self.plan.spec, self.first.lake, window)
        # Without a column that tells, a row is known from its time on: then all days can be read at once.
        step = ONE_DAY if self.plan.history.known else window.end - window.start
        tables, start = [], window.start
        while start < window.end:
            spec = self.plan.history.at(start + step).spec
            rows = read_window(spec, Window(start, start + step), with_label=False)
            tables.append(_unanswered(spec, rows))
            start += step
        return pa.concat_tables(tables)

    def _take_over(self, day: datetime) -> None:
        """Have the same file as the first champion; one that is copied has the same time, so profiles stay valid."""
        assert self.first is not None
        source, target = self.first._file(day), self._file(day)
        if not source.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            try:
                os.link(source, target)
            except OSError:
                shutil.copy2(source, target)

    def _file(self, day: datetime) -> Path:
        return plain_file(self.plan.spec, self.lake, f"{day:%Y-%m-%d}")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.lake.mkdir(parents=True, exist_ok=True)
        with FileLock(self.lake / ".lock"):
            yield


def _unanswered(spec: ModelSpec, rows: pa.Table) -> pa.Table:
    import pyarrow as pa

    schema, frame, count = log_schema(spec), feature_frame(spec, rows), rows.num_rows
    columns: dict[str, Any] = {
        "prediction_id": rows[spec.id_column].cast(pa.string()),
        "event_time": rows[spec.time_column].cast(schema.field("event_time").type),
        "source": pa.array(["batch"] * count, pa.string()),
        **{name: pa.array(frame[name], schema.field(name).type, from_pandas=True) for name in frame.columns},
        **{name: rows[name].cast(pa.string()) for name in spec.context},
    }
    return pa.table(
        {field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in schema}, schema=schema
    )
