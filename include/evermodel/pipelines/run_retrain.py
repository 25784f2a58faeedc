"""A whole retrain in one process: the steps of the retrain DAG in their order, without Airflow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

from evermodel.alerts.incidents.store import asking_thread
from evermodel.alerts.retrain_message import RetrainSummary
from evermodel.core.errors import SpecError, TrainingError
from evermodel.evaluation.decision import Decision
from evermodel.modeling.training import TrainedCandidate
from evermodel.pipelines.retrain import Retrain
from evermodel.registry.approval import AUTO, Approval
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.tags import OUTCOME, VERSION, RetrainOutcome
from evermodel.registry.tracking import version_url
from evermodel.reports.retrain.log_decision_page import evidence_links
from evermodel.spec import CandidateSpec
from evermodel.spec.rollout import begins

# Opens a step by its name; what it gives takes the sentence that tells how the step ended.
Step = Callable[[str], AbstractContextManager[Callable[[str], None]]]


@dataclass(frozen=True)
class RetrainResult:
    """How a whole retrain ended.

    Parameters
    ----------
    outcome
        ``deployed``, ``rolling out`` (where the spec's `rollout` says so), ``kept the champion`` or ``waits for approval``.
    version
        The registered version; None if a gate failed.
    promotion
        The line of the history, if the version is champion now.
    again
        True if this run key had ended before, and nothing was done.
    """

    run_key: str
    outcome: RetrainOutcome
    decision: Decision
    version: str | None = None
    promotion: Promotion | None = None
    again: bool = False


def run_retrain(
    retrain: Retrain,
    step: Step,
    *,
    candidates: Collection[str] = (),
    force_reason: str | None = None,
    approved_by: str | None = None,
) -> RetrainResult:
    """Run every step of a retrain; an interrupted one continues, a finished one is read back.

    Parameters
    ----------
    candidates
        Names of the candidates to train; all if none is given.
    force_reason
        Reason to ship the challenger regardless of the gates.
    approved_by
        Who approves the version; None where the spec asks for approval leaves it registered, and unpromoted.

    Raises
    ------
    SpecError
        A candidate is not in the spec.
    TrainingError
        No candidate could be trained.
    """
    with retrain.failing():
        return _run(retrain, step, _chosen(retrain, candidates), force_reason, approved_by)


def _run(
    retrain: Retrain,
    step: Step,
    chosen: list[CandidateSpec],
    force_reason: str | None,
    approved_by: str | None,
) -> RetrainResult:
    ended = None if force_reason else _ended(retrain, approved_by)
    if ended is not None:
        return ended
    with step("extract") as say:
        taken = retrain.extract()
        say(f"{taken.rows:,} rows, {taken.window}")
    with step("validate") as say:
        validated = retrain.validate(taken)
        report, snapshot = validated.report, validated.snapshot
        say(f"{len(report.checks)} checks: {report.verdict}")
    trained = _train(retrain, chosen, snapshot.path, step)
    with step("evaluate") as say:
        decision = retrain.evaluate(snapshot.path, trained, force_reason)
        say(f"{decision.candidate}: {decision.verdict.replace('_', ' ')}")
    if not decision.ship:
        retrain.finish(RetrainOutcome.KEPT)
        return RetrainResult(retrain.run_key, RetrainOutcome.KEPT, decision)
    with step("register") as say:
        version = str(retrain.register(snapshot.to_json()).version)
        say(f"version {version}")
    if approved_by is None:
        retrain.finish(RetrainOutcome.WAITS)
        return RetrainResult(retrain.run_key, RetrainOutcome.WAITS, decision, version)
    if retrain.spec.rollout.strategy != "direct" and decision.parent is not None:
        return _roll_out(retrain, decision, version, approved_by, step)
    with step("deploy") as say:
        promotion = retrain.deploy(version, approved_by)
        say(f"version {version} is champion (before: {promotion.previous or 'none'})")
    retrain.finish(RetrainOutcome.DEPLOYED)
    return RetrainResult(retrain.run_key, RetrainOutcome.DEPLOYED, decision, version, promotion)


def _roll_out(
    retrain: Retrain, decision: Decision, version: str, approved_by: str, step: Step
) -> RetrainResult:
    """Start the rollout; `evermodel rollout advance` or the rollout DAG does the later steps."""
    from evermodel.deployment.rollout.service import RolloutService

    with step("rollout") as say:
        request = retrain.ask_for_rollout(version, approved_by)
        plan = RolloutService(retrain.spec, retrain.client, retrain.settings).start(**request)
        say(f"{plan.strategy.replace('_', ' ')} of version {version}, {plan.state.replace('_', ' ')}")
    retrain.finish(RetrainOutcome.ROLLING_OUT)
    return RetrainResult(retrain.run_key, RetrainOutcome.ROLLING_OUT, decision, version)


def _chosen(retrain: Retrain, names: Collection[str]) -> list[CandidateSpec]:
    known = {candidate.name: candidate for candidate in retrain.spec.candidates}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SpecError(
            f"model {retrain.spec.name}: unknown candidate {', '.join(unknown)}",
            f"use: {', '.join(known)}",
        )
    return [known[name] for name in names or known]


def _ended(retrain: Retrain, approved_by: str | None) -> RetrainResult | None:
    """Return the former result of this run key, if a repetition would change nothing."""
    tags, key = retrain.read_run().data.tags, retrain.run_key
    outcome, version = tags.get(OUTCOME), tags.get(VERSION)
    if outcome == RetrainOutcome.DEPLOYED:
        done = _promotion(retrain, version)
        if done is None:
            return None
        return RetrainResult(key, RetrainOutcome.DEPLOYED, retrain.decision(), done.version, done, again=True)
    if outcome in (RetrainOutcome.REJECTED, RetrainOutcome.STOPPED):
        return RetrainResult(key, RetrainOutcome.KEPT, retrain.decision(), version, again=True)
    if outcome == RetrainOutcome.ROLLING_OUT:
        return RetrainResult(key, RetrainOutcome.ROLLING_OUT, retrain.decision(), version, again=True)
    if outcome == RetrainOutcome.KEPT or (outcome == RetrainOutcome.WAITS and approved_by is None):
        decision = retrain.decision()
        if decision.parent == ModelRegistry(retrain.client).read(retrain.spec.name).champion:
            return RetrainResult(key, RetrainOutcome(outcome), decision, version, again=True)
    return None  # it continues, or it was evaluated against another champion


def _promotion(retrain: Retrain, version: str | None) -> Promotion | None:
    """Find the promotion of a version: by this retrain, else by a rollout or a person under another run key."""
    found = ModelRegistry(retrain.client).read(retrain.spec.name)
    own = found.completed(retrain.run_key)
    later = (p for p in reversed(found.promotions) if p.version == version and p.kind == "promotion")
    return own or next(later, None)


def _train(
    retrain: Retrain, candidates: list[CandidateSpec], snapshot: str, step: Step
) -> list[TrainedCandidate]:
    """Train the candidates one after another; one that fails is left out, as in the DAG."""
    trained, failed = [], []
    for candidate in candidates:
        with step(f"train {candidate.name}") as say:
            try:
                done = retrain.train(candidate, snapshot)
            except TrainingError as error:
                failed.append(error)
                say(f"failed: {error.problem}")
            else:
                trained.append(done)
                say(f"validation {done.metric} {done.validation:.4f}")
    if not trained:
        raise failed[0]
    return trained


def approval_word(approval: Approval | None) -> str:
    """Return the outcome of the approval in a word; None if none was required.

    >>> approval_word(None), approval_word(Approval(True, AUTO, "7")), approval_word(Approval(False, "ml_lead", "7"))
    ('not required', 'auto', 'rejected')
    """
    if approval is None:
        return "not required"
    if approval.by == AUTO:
        return AUTO
    return "approved" if approval.approved else "rejected"


def retrain_summary(
    retrain: Retrain,
    *,
    version: str | None,
    outcome: RetrainOutcome,
    approval: Approval | None = None,
    links: Mapping[str, str] | None = None,
) -> RetrainSummary:
    """Return what `retrain_message` needs."""
    decision, uri = retrain.decision(), retrain.settings.tracking_uri
    gain = decision.gain or (None, None, None)
    known = evidence_links(uri, retrain.read_run(), registered=bool(version))
    if version:
        known["Model version"] = version_url(uri, decision.model, version)
    return {
        "model": decision.model,
        "run_key": decision.run_key,
        "reason": retrain.reason,
        "verdict": decision.verdict,
        "shipped": outcome == RetrainOutcome.DEPLOYED,
        "rollout": begins(retrain.spec.rollout) if outcome == RetrainOutcome.ROLLING_OUT else "",
        "version": version,
        "previous": decision.parent,
        "metric": decision.metric,
        "challenger": decision.challenger[0],
        "champion": decision.champion[0] if decision.champion else None,
        "difference": gain[0],
        "low": gain[1],
        "high": gain[2],
        "rows": decision.rows,
        "gates": [asdict(gate) for gate in decision.gates],
        "approval": approval_word(approval),
        "by": approval.by if approval else "",
        "as_of": f"{retrain.as_of:%Y-%m-%d}",
        "links": {**known, **(links or {})},
        "thread": asking_thread(retrain.spec, retrain.client, decision.run_key),
    }
