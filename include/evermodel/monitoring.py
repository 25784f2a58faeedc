"""The steps of the drift DAG: window, verdict, report."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel import registry
from evermodel.drift.history import CalmHistory
from evermodel.drift.judge import judge_window
from evermodel.drift.profiles import Profiles
from evermodel.drift.references import References
from evermodel.drift.report import draw_report, save_report
from evermodel.drift.report_sources import sources_of
from evermodel.drift.verdict import DriftVerdict, Performance
from evermodel.drift.workspace import keep_report
from evermodel.errors import EmptyWindowError
from evermodel.performance import matured_performance, performance_metric
from evermodel.prediction_log import read_log
from evermodel.problems import Problem
from evermodel.retrain_history import tags_of
from evermodel.settings import Settings
from evermodel.severity import Severity, worst_of
from evermodel.snapshot import read_snapshot
from evermodel.spec import ModelSpec
from evermodel.tracking import keyed_run, log_json, log_metrics, read_json, run_url
from evermodel.window import Window, drift_window, parse_moment

if TYPE_CHECKING:
    import pyarrow as pa
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

DRIFT = "drift"
VERDICT_FILE = "verdict.json"


@dataclass(frozen=True)
class DriftWatch:
    """One look at one window; everything it leaves behind is keyed by the window's end.

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
        """Idempotency key of this look."""
        return f"drift/{self.spec.name}/{self.as_of:%Y-%m-%d}"

    @property
    def window(self) -> Window:
        """The window that is judged."""
        return drift_window(self.spec, self.as_of)

    def mlflow_run(self, tags: dict[str, str] | None = None) -> Run:
        """Find or make the MLflow run of this day."""
        name = f"drift {self.as_of:%Y-%m-%d}"
        experiment = f"{self.spec.name}-monitoring"
        return keyed_run(self.client, experiment, self.run_key, kind=DRIFT, name=name, tags=tags)

    def judge(self) -> DriftVerdict:
        """Judge the window against the rows that the champion was fitted on, and write the verdict to MLflow."""
        version = registry.champion(self.client, self.spec.name)
        predictions = self._predictions()
        verdict = self._verdict(version, predictions)
        run = self.mlflow_run(tags_of(verdict))
        log_json(self.client, run.info.run_id, verdict.to_json(), VERDICT_FILE)
        self._log_metrics(run, verdict)
        return verdict

    def report(self) -> str:
        """Draw Evidently's report beside the verdict; return the address of the MLflow run that holds it."""
        verdict = self.verdict()
        version = self.client.get_model_version(self.spec.name, verdict.version)
        run = self.mlflow_run()
        sources = sources_of(self._references(version), self._predictions())
        snapshot = draw_report(self.spec, verdict, *sources)
        with tempfile.TemporaryDirectory() as folder:
            for file in save_report(snapshot, Path(folder)):
                self.client.log_artifact(run.info.run_id, str(file))
        keep_report(self.settings.evidently_workspace, self.spec, snapshot, self.as_of)
        self.client.set_terminated(run.info.run_id, "FINISHED")
        return run_url(self.settings.tracking_uri, run)

    def verdict(self) -> DriftVerdict:
        """Read back the verdict that `judge` wrote."""
        return DriftVerdict.from_json(read_json(self.client, self.mlflow_run().info.run_id, VERDICT_FILE))

    def _verdict(self, version: ModelVersion, predictions: pa.Table) -> DriftVerdict:
        references = self._references(version)
        history = CalmHistory(references).learn()
        columns = judge_window(self.spec, references, predictions, history=history)
        performance = matured_performance(self.spec, predictions, self.window, self.as_of)
        quality = _quality(self.spec, predictions)
        severity, reason = self._severity(
            worst_of(c.severity for c in columns),
            predictions.num_rows,
            list(dict.fromkeys(c.column for c in columns if c.severity != "none")),
        )
        metric = performance_metric(self.spec)
        promised = version.tags.get("evermodel.metric_value") if metric == self.spec.gate.metric else None
        return DriftVerdict(
            model=self.spec.name,
            version=str(version.version),
            start=self.window.start.isoformat(),
            end=self.window.end.isoformat(),
            reference=references.main().words,
            reference_rows=references.main().rows,
            window_rows=predictions.num_rows,
            false_alarm_rate=self.spec.drift.false_alarm_rate,
            severity=severity,
            reason=reason,
            problems=(
                Problem("drift", severity, reason, known=predictions.num_rows >= self.spec.drift.min_rows),
                Problem("quality", "warning" if quality else "none", "; ".join(quality), details=quality),
            ),
            performance=Performance(
                metric=metric,
                rows=predictions.num_rows,
                value=performance.value if performance else None,
                low=performance.low if performance else None,
                high=performance.high if performance else None,
                promised=float(promised) if promised else None,
            ),
            columns=columns,
        )

    def _severity(self, found: Severity, rows: int, drifting: list[str]) -> tuple[Severity, str]:
        if rows < self.spec.drift.min_rows:
            return "none", f"{rows} rows are too few for a verdict (at least {self.spec.drift.min_rows})"
        if not drifting:
            return "none", f"none of {len(self.spec.watched)} columns drifts"
        return found, f"{len(drifting)} of {len(self.spec.watched)} columns drift: {', '.join(drifting)}"

    def _predictions(self) -> pa.Table:
        table = read_log(self.spec, self.settings.lake, self.window)
        if table.num_rows == 0:
            raise EmptyWindowError(
                f"model {self.spec.name}: the prediction log has no row in {self.window}",
                f"check the DAG score_{self.spec.name}: it writes the predictions that this one judges",
            )
        return table

    def _references(self, version: ModelVersion) -> References:
        profiles = Profiles(self.spec, self.settings.lake)
        number, training = str(version.version), self._reference(version)
        return References(self.spec, self.window, number, training, _fitted(version), profiles)

    def _reference(self, version: ModelVersion) -> pa.Table:
        path = version.tags["evermodel.snapshot"]
        return read_snapshot(path, self.settings, _fitted(version), self.spec.time_column)

    def _log_metrics(self, run: Run, verdict: DriftVerdict) -> None:
        prefix = {"feature": "psi", "prediction": "psi", "missing": "missing", "category": "category"}
        values = {f"{prefix[c.what]}_{c.column}": c.effect for c in verdict.columns if c.what in prefix}
        found = verdict.performance
        log_metrics(
            self.client,
            run.info.run_id,
            {**values, "window_rows": verdict.window_rows, f"matured_{found.metric}": found.value},
        )


def _fitted(version: ModelVersion) -> Window:
    """Return the interval that a version was fitted on."""
    return Window(
        parse_moment(version.tags["evermodel.train_start"]), parse_moment(version.tags["evermodel.train_end"])
    )


def _quality(spec: ModelSpec, predictions: pa.Table) -> tuple[str, ...]:
    """Return what is wrong with the data itself: bad data is not drift."""
    rows = max(predictions.num_rows, 1)
    problems = []
    for name in spec.features.names:
        share = predictions[name].null_count / rows
        limit = spec.validation.max_null_share_by_column.get(name, spec.validation.max_null_share)
        if share > limit:
            problems.append(f"{name}: {share:.0%} missing, at most {limit:.0%} allowed")
    return tuple(problems)
