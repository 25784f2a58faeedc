"""Every step of the retrain, score and drift pipelines as a function from a request to JSON, for operators and `evermodel step`.

A step reads and writes MLflow, the lake and the database; what it returns is small and JSON-ready, so that it can be an XCom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import StepContractError
from evermodel.core.settings import Settings
from evermodel.core.step_contract import StepRequest
from evermodel.monitoring.drift.figures import effect_figure, limit_figure
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, parse_moment, whole_day

if TYPE_CHECKING:
    from evermodel.pipelines.drift import MonitoringRun
    from evermodel.pipelines.retrain import Retrain
    from evermodel.registry.client import MlflowClient

Result = dict[str, Any]


@dataclass(frozen=True)
class StepWork:
    """A request, and what is needed to do it.

    Parameters
    ----------
    connect
        Returns the client of the MLflow server; steps that need none do not call it.
    force_reason
        Why the challenger ships regardless of the gates; whoever calls has checked who may say so.
    waived
        True if the version needs no approval although the spec requires one; whoever calls has checked who may say so.
    """

    spec: ModelSpec
    request: StepRequest
    connect: Callable[[], MlflowClient]
    settings: Settings
    force_reason: str | None = None
    waived: bool = False

    @cached_property
    def as_of(self) -> datetime:
        """Moment as of which the step works."""
        return whole_day(self.request.as_of)

    def retrain(self) -> Retrain:
        """Return the retrain that the step belongs to."""
        from evermodel.pipelines.retrain import Retrain

        key, reason = self.request.run_key, self.request.reason
        if not key:
            raise StepContractError("the request has no run_key", "give all steps of a retrain the same one")
        return Retrain(self.spec, key, self.as_of, reason, self.connect(), self.settings)

    def drift(self) -> MonitoringRun:
        """Return the monitoring run of the request's window."""
        from evermodel.pipelines.watch import monitoring_run

        return monitoring_run(self.spec, self.request.as_of, self.connect, self.settings)

    def input(self, name: str) -> Any:
        """Return an input of the request; a result of another step may come with its links."""
        try:
            return _without_links(self.request.inputs[name])
        except KeyError:
            raise StepContractError(f"the request lacks the input {name}", f"set inputs.{name}") from None


def run_step(name: str, work: StepWork) -> Result:
    """Run a step.

    Raises
    ------
    StepContractError
        There is no such step, or an input is missing.
    EvermodelError
        What the step itself raises.
    """
    if name not in STEPS:
        raise StepContractError(f"there is no step {name}", f"use one of {', '.join(STEPS)}")
    return STEPS[name](work)


def _source_ready(work: StepWork) -> Result:
    """Tell whether the source's data of a window is complete."""
    from evermodel.data.sources.readiness import source_ready

    return asdict(source_ready(work.spec, _window(work)))


def _predictions_ready(work: StepWork) -> Result:
    """Tell whether the prediction log holds rows of the last day of a window."""
    from evermodel.data.sources.readiness import predictions_ready

    return asdict(predictions_ready(work.spec, work.settings.lake, _window(work)))


def _extract(work: StepWork) -> Result:
    """Take the snapshot."""
    from evermodel.registry.tags import AIRFLOW_RUN
    from evermodel.registry.tracking import run_url

    retrain = work.retrain()
    snapshot, started_by = retrain.extract(), work.request.inputs.get("airflow_run")
    run = retrain.mlflow_run({AIRFLOW_RUN: str(started_by)} if started_by else None)
    return {**snapshot.to_json(), "links": {"MLflow run": run_url(work.settings.tracking_uri, run)}}


def _validate(work: StepWork) -> Result:
    """Check the snapshot; the one for the next steps is the result's `snapshot`."""
    from evermodel.data.snapshots.snapshot import Snapshot

    validated = work.retrain().validate(Snapshot(**work.input("snapshot")))
    report = validated.report
    return {
        "snapshot": validated.snapshot.to_json(),
        "verdict": report.verdict,
        "checks": len(report.checks),
        "rows": report.rows,
        "warned": len(report.warnings),
        "quarantined_rows": report.set_aside,
        "lines": [f"{check.severity}: {check.line()}" for check in (*report.warnings, *report.quarantines)],
    }


def _train(work: StepWork) -> Result:
    """Train one candidate."""
    from evermodel.core.names import require_known
    from evermodel.registry.tracking import run_url

    candidates = {candidate.name: candidate for candidate in work.spec.candidates}
    wanted = str(work.input("candidate"))
    require_known("candidate", [wanted], sorted(candidates))
    retrain = work.retrain()
    trained = retrain.train(candidates[wanted], work.input("snapshot")["path"])
    run = retrain.client.get_run(trained.mlflow_run)
    return {**trained.to_json(), "links": {"MLflow run": run_url(work.settings.tracking_uri, run)}}


def _evaluate(work: StepWork) -> Result:
    """Evaluate the best candidate against the champion, and write the decision.

    The input `approval` can require an approval that the spec does not; nothing in a request takes one away.
    """
    from evermodel.modeling.training import TrainedCandidate
    from evermodel.registry.approval import AUTO
    from evermodel.reports.retrain.log_decision_page import evidence_links

    trained = [TrainedCandidate(**item) for item in work.input("trained") if item]
    snapshot = work.input("snapshot")["path"]
    asked = "manual" if work.request.inputs.get("approval") == "manual" else work.spec.approval
    approval = AUTO if work.waived else asked
    retrain = work.retrain()
    decision = retrain.evaluate(snapshot, trained, work.force_reason, approval)
    links = evidence_links(work.settings.tracking_uri, retrain.read_run(), registered=False)
    return {
        "ship": decision.ship,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "candidate": decision.candidate,
        "metric": decision.metric,
        "challenger": decision.challenger[0],
        "champion": decision.champion[0] if decision.champion else None,
        "decision": decision.digest,
        "gates": [asdict(gate) for gate in decision.gates],
        "links": links,
    }


def _register(work: StepWork) -> Result:
    """Register the challenger, if its decision ships."""
    version = str(work.retrain().register(work.input("snapshot")).version)
    return {"version": version, "links": _version_link(work, version)}


def _approval_request(work: StepWork) -> Result:
    """Return what the approval form of a version shows."""
    from evermodel.pipelines.approval import approval_request

    version, until = str(work.input("version")), str(work.request.inputs.get("until", ""))
    return approval_request(work.spec.name, version, work.connect(), work.settings.tracking_uri, until=until)


def _approval_answer(work: StepWork) -> Result:
    """Record the answer to the form; whoever asks for it has checked who answered."""
    from evermodel.pipelines.approval import record_form_answer
    from evermodel.registry.approval import Approval

    record_form_answer(work.spec.name, work.connect(), Approval(**work.input("approval")))
    return {}


def _deploy(work: StepWork) -> Result:
    """Promote the version, or approve its rollout; the registry must show a decision that ships, and its approval.

    Nobody's approval is taken from the request: the rule that protects production reads the stored one.
    """
    retrain, version = work.retrain(), str(work.input("version"))
    strategy = work.spec.rollout.strategy
    if strategy != "direct" and retrain.decision().parent is not None:
        done: Result = {"rollout": {**retrain.ask_for_rollout(version), "strategy": strategy}}
    else:
        done = asdict(retrain.deploy(version))
    return {**done, "links": _version_link(work, version)}


def _rollback(work: StepWork) -> Result:
    """Make an earlier champion the champion again; `stopped` is the version whose rollout that ended."""
    from evermodel.deployment.rollback import roll_back
    from evermodel.deployment.rollout.moves import active_rollout
    from evermodel.registry.registry import ModelRegistry
    from evermodel.registry.serving_reports import ServingReports

    client, model, request = work.connect(), work.spec.name, work.request
    active = active_rollout(ModelRegistry(client).read(model))
    done = roll_back(
        client,
        model,
        by=str(work.input("by")),
        reason=request.reason,
        run_key=request.run_key or None,
        version=str(request.inputs.get("version") or "").strip() or None,
        reports=ServingReports.of(work.settings),
    )
    stopped = active.challenger if active else ""
    return {**asdict(done), "stopped": stopped, "links": _version_link(work, done.version)}


def _finish(work: StepWork) -> Result:
    """Record how the retrain ended, and return what a message about it needs."""
    from evermodel.pipelines.run_retrain import retrain_summary
    from evermodel.registry.approval import Approval
    from evermodel.registry.tags import RetrainOutcome

    version, approval = work.request.inputs.get("version"), work.request.inputs.get("approval")
    promotion = work.request.inputs.get("promotion")
    if promotion:
        ended = RetrainOutcome.ROLLING_OUT if "rollout" in promotion else RetrainOutcome.DEPLOYED
    else:
        ended = RetrainOutcome.REJECTED if approval and not approval["approved"] else RetrainOutcome.KEPT
    retrain = work.retrain()
    summary = retrain_summary(
        retrain,
        version=str(version) if version else None,
        outcome=ended,
        approval=Approval(**approval) if approval else None,
        links=work.request.inputs.get("links"),
    )
    retrain.finish(ended)
    return {"outcome": ended.value, "summary": summary, "links": summary["links"]}


def _score(work: StepWork) -> Result:
    """Score the day before the moment with the champion."""
    from evermodel.modeling.scoring.day import score_day

    scored = score_day(work.spec, work.as_of, work.connect(), work.settings)
    return {**scored.to_json(), "links": _version_link(work, scored.version)}


def _write_features(work: StepWork) -> Result:
    """Write the features that the serving app looks up, of the period that has begun."""
    from evermodel.data.online.write import write_online

    written = write_online(work.spec, parse_moment(work.request.as_of), work.settings)
    return {"views": [view.to_json() for view in written]}


def _drift_verdict(work: StepWork) -> Result:
    """Evaluate the window of the prediction log."""
    watch = work.drift()
    verdict = watch.judge()
    performance = verdict.performance
    return {
        "severity": verdict.severity,
        "reason": verdict.reason,
        "version": verdict.version,
        "rows": verdict.window_rows,
        "drifting": [column.column for column in verdict.drifting],
        "metric": performance.metric,
        "metric_value": performance.value,
        "metric_promised": performance.promised,
        "quality": list(verdict.quality),
        "lines": [
            f"{c.column} {effect_figure(c)} ({limit_figure(c)}): {c.summary}" for c in verdict.drifting
        ],
        "links": watch.links(),
    }


def _drift_report(work: StepWork) -> Result:
    """Store the report of the window; the result's `url` is its MLflow run."""
    from evermodel.pipelines.drift import REPORT_FILE

    watch = work.drift()
    url, links = watch.report(), watch.links()
    return {"url": url, "links": {**links, "Report": f"{url}/artifacts/{REPORT_FILE}"} if links else {}}


STEPS: Mapping[str, Callable[[StepWork], Result]] = {
    "source_ready": _source_ready,
    "predictions_ready": _predictions_ready,
    "extract": _extract,
    "validate": _validate,
    "train": _train,
    "evaluate": _evaluate,
    "register": _register,
    "approval_request": _approval_request,
    "approval_answer": _approval_answer,
    "deploy": _deploy,
    "rollback": _rollback,
    "finish": _finish,
    "score": _score,
    "write_features": _write_features,
    "drift_verdict": _drift_verdict,
    "drift_report": _drift_report,
}


def _without_links(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_links(item) for item in value]
    return {k: v for k, v in value.items() if k != "links"} if isinstance(value, dict) else value


def _version_link(work: StepWork, version: str) -> dict[str, str]:
    from evermodel.registry.tracking import version_url

    return {"Model version": version_url(work.settings.tracking_uri, work.spec.name, version)}


def _window(work: StepWork) -> Window:
    return Window(parse_moment(work.input("start")), parse_moment(work.input("end")))
