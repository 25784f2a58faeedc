"""The steps of the drift DAG: window, verdict, report."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from evermodel.alerts.incidents.handler import IncidentHandler
from evermodel.alerts.incidents.store import IncidentRecord, RegistryIncidents
from evermodel.alerts.plot import drift_plot
from evermodel.alerts.publisher import clock, message_queue
from evermodel.core.errors import SourceError
from evermodel.core.extras import is_installed
from evermodel.core.settings import Settings
from evermodel.data.snapshots.store import snapshot_store
from evermodel.deployment.automatic_rollback import watched_promotion
from evermodel.modeling.model_store import LoadedModel, load_model
from evermodel.monitoring.drift.drawing import sources_of
from evermodel.monitoring.drift.report import draw_report, save_report
from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.drift.workspace import keep_report
from evermodel.monitoring.performance.baseline import baseline_of
from evermodel.monitoring.performance.decay import margins
from evermodel.monitoring.performance.objectives import serving_problem
from evermodel.monitoring.performance.promotion_effect import promotion_effect
from evermodel.monitoring.performance.scrape import interval_of
from evermodel.monitoring.problems import Problem
from evermodel.monitoring.retrain_history import note_answer, tags_of
from evermodel.monitoring.retrain_policy import (
    RetrainRecommendation,
    current_recommendation,
    record_request,
)
from evermodel.monitoring.skew import skew_problem
from evermodel.monitoring.summary_tags import effect_tag
from evermodel.monitoring.verdict import MonitoredChampion, incident_days, judge_day, window_rows
from evermodel.registry.lineage import Lineage
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tracking import (
    artifact_url,
    keyed_run,
    log_json,
    log_metrics,
    read_json,
    run_url,
    version_url,
)
from evermodel.reports.drift_page import drift_page
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, drift_window

if TYPE_CHECKING:
    from evermodel.modeling.scoring.loaded_version import ServedModel
    from evermodel.monitoring.drift.verdict import PromotionEffect
    from evermodel.monitoring.performance.report import PerformanceReport
    from evermodel.monitoring.problems import ProblemKind
    from evermodel.registry.client import MlflowClient, ModelVersion, Run
    from evermodel.registry.registry_entry import Promotion

_LOG = logging.getLogger(__name__)
DRIFT = "drift"
REPORT_FILE = "evidently.html"  # of either page: messages, the Models page and the command line link to it
VERDICT_FILE, PERFORMANCE_FILE, SERVING_FILE = "verdict.json", "performance.json", "serving.json"


class MonitoringRun(Protocol):
    """The evaluation of one window of a model: of a champion (`DriftRun`), or of a watched model (`WatchRun`)."""

    @property
    def spec(self) -> ModelSpec:
        """The model's spec."""
        ...

    @property
    def as_of(self) -> datetime:
        """End of the window."""
        ...

    @property
    def settings(self) -> Settings:
        """The installation's settings."""
        ...

    @property
    def window(self) -> Window:
        """The evaluated window."""
        ...

    def judge(self) -> DriftVerdict:
        """Evaluate the window, and store the verdict."""
        ...

    def verdict(self) -> DriftVerdict:
        """Read back the stored verdict."""
        ...

    def report(self) -> str:
        """Draw and store the report; return its address."""
        ...

    def page(self, folder: Path) -> Path:
        """Return the report as a local file; it may be put into a folder."""
        ...

    def links(self, verdict: DriftVerdict | None = None) -> dict[str, str]:
        """Return where the results can be seen, by the name of the link."""
        ...

    def recommendation(self, verdict: DriftVerdict) -> RetrainRecommendation:
        """Apply the retrain policy to a verdict and its past."""
        ...

    def answer(self, note: str) -> None:
        """Store what the policy answered."""
        ...

    def request(self, reason: str) -> dict[str, Any]:
        """Store the request of a retrain, and return it."""
        ...

    def incidents(self) -> IncidentRecord:
        """Return where the model's incidents are kept."""
        ...


@dataclass(frozen=True)
class DriftRun:
    """The evaluation of one window; its results are keyed by the window's end.

    Parameters
    ----------
    as_of
        End of the window; labels that matured later are not used.
    """

    spec: ModelSpec
    as_of: datetime
    client: MlflowClient
    settings: Settings

    @property
    def run_key(self) -> str:
        """Idempotency key of this evaluation."""
        return f"drift/{self.spec.name}/{self.as_of:%Y-%m-%d}"

    @property
    def window(self) -> Window:
        """The evaluated window."""
        return drift_window(self.spec, self.as_of)

    def mlflow_run(self, tags: dict[str, str] | None = None) -> Run:
        """Find or make the MLflow run of this day."""
        name = f"drift {self.as_of:%Y-%m-%d}"
        experiment = f"{self.spec.name}-monitoring"
        return keyed_run(self.client, experiment, self.run_key, kind=DRIFT, name=name, tags=tags)

    def judge(self) -> DriftVerdict:
        """Evaluate the window against the champion's reference, and write the verdict to MLflow."""
        registry = ModelRegistry(self.client)
        version, seen = registry.champion(self.spec.name), registry.read(self.spec.name)
        if seen.foreign_alias:
            _LOG.warning("model %s: %s; run evermodel audit verify", self.spec.name, seen.foreign_alias)
        verdict, performance = self._verdict(version, seen.promotions)
        run = self.mlflow_run(tags_of(verdict) | effect_tag(verdict))
        for tag, text in effect_tag(verdict).items():
            self.client.set_registered_model_tag(self.spec.name, tag, text)
        log_json(self.client, run.info.run_id, performance.to_json(), PERFORMANCE_FILE)
        log_json(self.client, run.info.run_id, verdict.to_json(), VERDICT_FILE)
        self._log_metrics(run, verdict)
        return verdict

    def report(self) -> str:
        """Draw Evidently's report, or a page of our own where it is not installed; return the address of its MLflow run."""
        verdict, run = self.verdict(), self.mlflow_run()
        version = self.client.get_model_version(self.spec.name, verdict.version)
        with tempfile.TemporaryDirectory() as folder:
            for file in draw_pages(self, verdict, lambda: self._watched(version), Path(folder)):
                self.client.log_artifact(run.info.run_id, str(file))
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return run_url(self.settings.tracking_uri, run)

    def page(self, folder: Path) -> Path:
        """Download the report from MLflow into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        return Path(self.client.download_artifacts(self.mlflow_run().info.run_id, REPORT_FILE, str(folder)))

    def links(self, verdict: DriftVerdict | None = None) -> dict[str, str]:
        """Return the addresses of the MLflow run and, of a verdict, of its report and version."""
        run, uri = self.mlflow_run(), self.settings.tracking_uri
        if verdict is None:
            return {"MLflow run": run_url(uri, run)}
        return {
            "Evidently report": artifact_url(uri, run, REPORT_FILE),
            "MLflow run": run_url(uri, run),
            "Model version": version_url(uri, self.spec.name, verdict.version),
        }

    def recommendation(self, verdict: DriftVerdict) -> RetrainRecommendation:
        """Apply the retrain policy to a verdict and the history in MLflow."""
        return current_recommendation(self.spec, verdict, self.as_of, self.client)

    def answer(self, note: str) -> None:
        """Write the policy's recommendation to the MLflow run of the day."""
        note_answer(self.client, self.spec, self.as_of, note)

    def request(self, reason: str) -> dict[str, Any]:
        """Store the request of a retrain with the registered model, and return it."""
        return record_request(self.spec, self.as_of, reason, self.client)

    def incidents(self) -> IncidentRecord:
        """Return the incidents of the registered model."""
        return RegistryIncidents(self.client, self.spec.name, self.mlflow_run().info.run_id)

    def verdict(self) -> DriftVerdict:
        """Read back the verdict that `judge` wrote."""
        return DriftVerdict.from_json(read_json(self.client, self.mlflow_run().info.run_id, VERDICT_FILE))

    def _verdict(
        self, version: ModelVersion, past: Sequence[Promotion]
    ) -> tuple[DriftVerdict, PerformanceReport]:
        champion = self._watched(version)
        verdict, look = judge_day(
            self.spec,
            self.settings.lake,
            self.as_of,
            champion,
            was_calm=self._was_calm(),
            serving=self._serving(),
            skew=self._skew(),
        )
        # After the evaluation of performance, which reads the labels.
        return replace(verdict, promotion=self._promotion_effect(champion, past)), look.report

    def _promotion_effect(
        self, champion: MonitoredChampion, past: Sequence[Promotion]
    ) -> PromotionEffect | None:
        """Compare the champion with the version that it replaced, while its promotion is watched."""
        from evermodel.registry.serving_reports import ServingReports

        spec = self.spec
        watched = watched_promotion(spec, past, self.as_of, ServingReports.of(self.settings))
        if watched is None or watched.version != champion.version:
            return None

        def load() -> LoadedModel:
            with tempfile.TemporaryDirectory() as folder:
                uri = f"models:/{spec.name}/{watched.replaced}"
                return load_model(self.client, uri, Path(folder), spec.own_code)

        margin, _ = margins(spec, champion.baseline)
        return promotion_effect(spec, self.settings.lake, self.as_of, watched, margin, load)

    def _watched(self, version: ModelVersion) -> MonitoredChampion:
        promise = baseline_of(self.spec, version, self.client, self.settings)
        model = partial(self._served, version) if self.spec.serving.explain else None
        return MonitoredChampion(
            str(version.version), self._training(version), _fitted(version), promise, model=model
        )

    def _served(self, version: ModelVersion) -> ServedModel:
        """Load the version as serving does."""
        from evermodel.modeling.model_store import download
        from evermodel.modeling.scoring.loaded_version import read_served

        number = str(version.version)
        with tempfile.TemporaryDirectory() as folder:
            download(self.client, f"models:/{self.spec.name}/{number}", Path(folder), version)
            return read_served(self.spec, number, Path(folder))

    def _serving(self) -> Problem:
        """Compare the serving app's counters with its objectives, and store the figures."""
        urls = self.settings.serving_urls
        token = self.settings.serving_token.get_secret_value()
        seen = interval_of(self.spec, self.settings.lake, urls, self.as_of, token=token) if urls else None
        problem, figures = serving_problem(self.spec, seen)
        if figures is not None:
            log_json(self.client, self.mlflow_run().info.run_id, asdict(figures), SERVING_FILE)
        return problem

    def _skew(self) -> Problem | None:
        """Compare what was served with the source; where that cannot be read, the other checks go on."""
        try:
            return skew_problem(self.spec, self.settings.lake, self.as_of)
        except SourceError as error:
            _LOG.warning("model %s: served features are not compared: %s", self.spec.name, error)
            return Problem("skew", "none", f"not compared: {error.problem}", known=False)

    def _was_calm(self) -> Callable[[date], bool]:
        """Return the quiet days, without those with problems other than drift."""
        excluded = incident_days(self.client, self.spec)
        return lambda day: day not in excluded

    def _training(self, version: ModelVersion) -> ParquetRows:
        file = snapshot_store(self.settings).source(Lineage.from_version(version).snapshot)
        return ParquetRows([file], _fitted(version), self.spec.time_column)

    def _log_metrics(self, run: Run, verdict: DriftVerdict) -> None:
        prefix = {"feature": "psi", "prediction": "psi", "missing": "missing", "category": "category"}
        values = {f"{prefix[c.what]}_{c.column}": c.effect for c in verdict.columns if c.what in prefix}
        values |= {f"limit_{c.column}": c.threshold for c in verdict.columns if c.what == "feature"}
        found = verdict.performance
        log_metrics(
            self.client,
            run.info.run_id,
            {**values, "window_rows": verdict.window_rows, f"matured_{found.metric}": found.value},
        )


def _fitted(version: ModelVersion) -> Window:
    """Return the interval that a version was fitted on."""
    found = Lineage.from_version(version).require(version, "fit_window", "snapshot")
    assert found.fit_window is not None
    return found.fit_window


def draw_pages(
    run: MonitoringRun, verdict: DriftVerdict, watched: Callable[[], MonitoredChampion], folder: Path
) -> list[Path]:
    """Draw Evidently's report into a folder, or a page of our own where it is not installed; return the files."""
    spec, lake = run.spec, run.settings.lake
    if not is_installed("evidently"):
        page = folder / REPORT_FILE
        page.write_text(drift_page(verdict), encoding="utf-8")
        return [page]
    references = watched().references(spec, lake, run.as_of)
    snapshot = draw_report(spec, verdict, *sources_of(references, window_rows(spec, lake, run.as_of)))
    keep_report(run.settings.evidently_workspace, spec, snapshot, run.as_of)
    return list(save_report(snapshot, folder))


_NEXT = {
    "quality": "No automatic retrain because of bad data. Fix the source first, then rerun this window.",
    "serving": "Check the serving app and its logs; a retrain does not help.",
    "skew": "Compare how these features are computed before a request with the spec; a retrain does not help.",
}
ASKED = "A retrain was requested; the result will be posted here."


def incident_handler(
    watch: MonitoringRun,
    verdict: DriftVerdict,
    links: Mapping[str, str],
    asked: str = ASKED,
    *,
    answerable: bool = False,
) -> IncidentHandler:
    """Return the handler for the problems of a verdict.

    Parameters
    ----------
    links
        Further links, after the run's own.
    asked
        What happens where the policy wants a retrain, in a sentence.
    answerable
        Whether a Slack app can receive buttons.
    """
    spec, bands = watch.spec, watch.spec.drift.psi

    def next_step(kind: ProblemKind) -> str:
        # Whether a retrain follows is looked up only for messages.
        if kind in _NEXT:
            return _NEXT[kind]
        recommendation = watch.recommendation(verdict)
        return asked if recommendation.wanted else recommendation.note

    return IncidentHandler(
        spec=spec,
        incidents=watch.incidents(),
        queue=message_queue(watch.settings),
        links={**watch.links(verdict), **links},
        next_step=next_step,
        draw=lambda path: drift_plot(verdict, path, bands=(bands.warning, bands.critical)),
        now=clock(),
        answerable=answerable,
    )
