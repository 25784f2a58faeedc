"""The monitoring of a watched model: its predictions are copied, evaluated as a champion's are, and remembered without MLflow."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.alerts.incidents.respond import IncidentResponder
from evermodel.alerts.incidents.store import IncidentRecord, WatchedIncidents
from evermodel.alerts.publisher import clock, message_queue
from evermodel.core.atomic import write_text
from evermodel.core.errors import EmptyWindowError
from evermodel.core.formats import JsonData, loads, stamped
from evermodel.core.paths import inside
from evermodel.core.settings import Settings
from evermodel.core.storage import StoragePath
from evermodel.data.foreign_log import collect
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.problems import Problem
from evermodel.monitoring.retrain_history import Request
from evermodel.monitoring.retrain_policy import Past, RetrainRecommendation, recommend_retrain, request_of
from evermodel.monitoring.verdict import judge_day
from evermodel.monitoring.verdict_history import PastVerdict, VerdictHistory
from evermodel.monitoring.watched_model import first_needed, watched_model
from evermodel.pipelines.drift import (
    PERFORMANCE_FILE,
    REPORT_FILE,
    VERDICT_FILE,
    DriftRun,
    MonitoringRun,
    draw_pages,
)
from evermodel.spec import ModelSpec
from evermodel.spec.window import (
    Window,
    drift_window,
    file_stamp,
    look_moment,
    looks,
    parse_moment,
    whole_day,
)

if TYPE_CHECKING:
    from evermodel.monitoring.performance.monitor import PerformanceEvaluation
    from evermodel.registry.client import MlflowClient

_LOG = logging.getLogger(__name__)
_NOT_SERVED = Problem("serving", "none", "the model is served elsewhere", known=False)


def monitoring_run(
    spec: ModelSpec, as_of: str | datetime, connect: Callable[[], MlflowClient], settings: Settings
) -> MonitoringRun:
    """Return the evaluation of the window that ends at a run's moment.

    Parameters
    ----------
    connect
        Returns the client of the MLflow server; called for a model with a registry only.
    """
    if spec.watch is not None:
        return WatchRun(spec, look_moment(spec, as_of), settings)
    return DriftRun(spec, whole_day(as_of), connect(), settings)


@dataclass(frozen=True)
class WatchRun:
    """The evaluation of one window of a watched model; its results are keyed by the window's end.

    The verdict and its report are in the lake, in ``monitoring/<model>/<end of the window>/``; the history is in the
    database.

    Parameters
    ----------
    as_of
        End of the window; labels that matured later are not used.
    """

    spec: ModelSpec
    as_of: datetime
    settings: Settings

    @property
    def window(self) -> Window:
        """The evaluated window."""
        return drift_window(self.spec, self.as_of)

    @property
    def folder(self) -> StoragePath:
        """Where the verdict and its report are."""
        return inside(self.settings.lake / "monitoring" / self.spec.name, file_stamp(self.as_of))

    @property
    def history(self) -> VerdictHistory:
        """The verdicts on the model."""
        return VerdictHistory(self.settings.database_url, self.spec.name)

    def judge(self) -> DriftVerdict:
        """Copy the predictions, evaluate the window, and store the verdict and the report on performance."""
        spec, lake = self.spec, self.settings.lake
        collect(spec, lake, first_needed(spec, self.as_of), self.as_of)
        verdict, evaluated = self.evaluate()
        self._write(PERFORMANCE_FILE, evaluated.report.to_json())
        return verdict

    def evaluate(self) -> tuple[DriftVerdict, PerformanceEvaluation]:
        """Evaluate the window from the predictions that are copied already, and store the verdict."""
        spec, lake = self.spec, self.settings.lake
        past = self.history.until(self.as_of)
        watched = watched_model(spec, lake, self.as_of)
        if past and past[0].version != watched.version:
            _LOG.warning(
                "model %s: version %s replaces version %s; reference: %s, baseline: %s",
                *(spec.name, watched.version, past[0].version, watched.fitted),
                watched.baseline.note or watched.baseline.level,
            )
        verdict, evaluated = judge_day(
            spec, lake, self.as_of, watched, was_calm=_was_calm(past), serving=_NOT_SERVED
        )
        self._write(VERDICT_FILE, verdict.to_json())
        self.history.write(verdict)
        return verdict, evaluated

    def verdict(self) -> DriftVerdict:
        """Read back the verdict that `judge` wrote."""
        file = self.folder / VERDICT_FILE
        return DriftVerdict.from_json(loads(file.read_text(encoding="utf-8"), file))

    def report(self) -> str:
        """Draw Evidently's report, or a page of our own where it is not installed; return where it is in the lake."""
        verdict, page = self.verdict(), self.folder / REPORT_FILE
        with tempfile.TemporaryDirectory() as folder:
            watched = lambda: watched_model(self.spec, self.settings.lake, self.as_of)  # noqa: E731
            for file in draw_pages(self, verdict, watched, Path(folder)):
                write_text(self.folder / file.name, file.read_text(encoding="utf-8"))
        return str(page)

    def page(self, folder: Path) -> Path:
        """Return the report: in a lake that is a folder where it is, else copied into a folder."""
        place = self.folder / REPORT_FILE
        if isinstance(place, Path):
            return place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT_FILE).write_text(place.read_text(encoding="utf-8"), encoding="utf-8")
        return folder / REPORT_FILE

    def links(self, verdict: DriftVerdict | None = None) -> dict[str, str]:
        """Return no links: the lake has no web pages."""
        return {}

    def recommendation(self, verdict: DriftVerdict) -> RetrainRecommendation:
        """Apply the retrain policy to a verdict and the history in the database."""
        found, history = self.history.until(self.as_of), VerdictHistory
        windows = history.severities(found, verdict.version, self.spec.retrain.windows.of - 1)
        return recommend_retrain(self.spec, verdict, self.as_of, Past(windows, history.requests(found)))

    def answer(self, note: str) -> None:
        """Store what the policy answered with the verdict."""
        self.history.add(self.as_of, answer=note)

    def request(self, reason: str) -> dict[str, Any]:
        """Store the request of a retrain with the verdict, and return it."""
        request: Request = request_of(self.spec, self.as_of, reason)
        self.history.add(self.as_of, request=asdict(request))
        return asdict(request)

    def incidents(self) -> IncidentRecord:
        """Return the incidents: the database keeps them."""
        return WatchedIncidents(self.history, self.as_of)

    def _write(self, name: str, data: dict[str, Any]) -> None:
        write_text(self.folder / name, json.dumps(stamped(data), indent=2, sort_keys=True) + "\n")


def backfill(
    spec: ModelSpec, settings: Settings, first: datetime, last: datetime
) -> Iterator[DriftVerdict | None]:
    """Evaluate the windows that end between two moments, the oldest first; those that have a verdict are skipped.

    The source is read once, and nothing is sent. An interrupted backfill goes on where it was.

    Yields
    ------
    The verdict of each window; None of one without rows.
    """
    history = VerdictHistory(settings.database_url, spec.name)
    known = {parse_moment(one.end) for one in history.until()}
    wanted = [moment for moment in looks(spec, first, last) if moment not in known]
    if wanted:
        collect(spec, settings.lake, first_needed(spec, wanted[0]), wanted[-1])
    for moment in wanted:
        try:
            yield WatchRun(spec, moment, settings).evaluate()[0]
        except EmptyWindowError as error:
            _LOG.info("%s", error.problem)
            yield None


@dataclass(frozen=True)
class WatchedStatus(JsonData):
    """What is known of a watched model.

    Parameters
    ----------
    window_end
        End of the last evaluated window, ISO 8601; empty before the first one.
    answer
        What the retrain policy said of it.
    open
        Kind, severity and beginning of each open incident.
    versions
        Each version with the end of its first evaluated window, the newest first.
    """

    model: str
    version: str
    window_end: str
    severity: str
    reason: str
    answer: str
    open: tuple[tuple[str, str, str], ...]
    versions: tuple[tuple[str, str], ...]

    def lines(self) -> list[str]:
        """Return the status as lines of text."""
        if not self.window_end:
            return [f"{self.model}: watched, no window is evaluated yet"]
        lines = [
            f"{self.model}: watched, version {self.version}",
            f"  window until {self.window_end[:16]}: {self.severity}; {self.reason}",
            *([f"  {self.answer}"] if self.answer else []),
            *(
                f"  open incident: {kind} ({severity}) since {since[:16]}"
                for kind, severity, since in self.open
            ),
        ]
        if len(self.versions) > 1:
            lines += [f"  version {version} since {since[:10]}" for version, since in self.versions]
        return lines


def watched_status(spec: ModelSpec, settings: Settings) -> WatchedStatus:
    """Read a watched model's status from the database."""
    queue = message_queue(settings)
    incidents = IncidentResponder(spec, None, queue, clock()).open_incidents()
    past = VerdictHistory(settings.database_url, spec.name).until()
    last = past[0] if past else PastVerdict("", "", "none", "", {})
    return WatchedStatus(
        model=spec.name,
        version=last.version,
        window_end=last.end,
        severity=last.severity,
        reason=last.reason,
        answer=str(last.facts.get("answer", "")),
        open=tuple((one.kind, one.incident.current, one.incident.opened) for one in incidents),
        versions=tuple({one.version: one.end for one in past}.items()),
    )


def _was_calm(past: list[PastVerdict]) -> Callable[[date], bool]:
    """Return the quiet days, without those with problems other than drift."""
    excluded = VerdictHistory.incident_days(past)
    return lambda day: day not in excluded
