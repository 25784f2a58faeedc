"""Eligibility: whether a version may be promoted or rolled out, by its decision and approval; for every path to production."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import ApprovalError, PromotionError, RolloutError
from evermodel.evaluation.decision import Decision
from evermodel.modeling.model_store import download
from evermodel.registry.approval import AUTO, Approval
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion, RegistryEntry
from evermodel.registry.retrain_run import DECISION_FILE, retrain_of
from evermodel.registry.tags import DECISION, ORIGIN, RUN_KEY
from evermodel.registry.tracking import may_pass, read_json

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion
    from evermodel.registry.held_model import HeldModel


def promote(
    registry: ModelRegistry,
    held: HeldModel,
    version: str,
    *,
    expected: str | None,
    by: str,
    reason: str,
    run_key: str,
    kind: Literal["promotion", "rollback"] = "promotion",
    forced: bool = False,
    known: tuple[ModelVersion, Decision] | None = None,
) -> Promotion:
    """Make a version the champion; no other function moves that alias, so that every path passes this check.

    Parameters
    ----------
    held
        The model, whose lease this process holds (`ModelRegistry.holding`).
    forced
        Promote in spite of decision and approval; only for a person at the command line, who is recorded.
    known
        The version and its decision, if they were read just now.

    Raises
    ------
    PromotionError
        The decision does not allow it, or a rollback names a version that never served.
    ApprovalError
        The version is not approved, or another decision was.
    ModelChangedError
        A stored file is not the one that was evaluated.
    RegistryConflictError
        The champion has changed since the evaluation.
    """
    seen = held.entry
    begun = seen.completed(run_key) or seen.unfinished(run_key)  # was checked when it began
    if kind == "rollback":
        _require_served(seen, version)
    elif not begun:
        found = known[0] if known else registry.version(seen.name, version)
        if not forced:
            decision = known[1] if known else decision_of(registry.client, found)
            _require_consent(found, decision, expected)
        require_content(registry.client, found)
    return registry.promote(
        held, version, expected=expected, by=by, reason=reason, run_key=run_key, kind=kind
    )


def _require_consent(version: ModelVersion, decision: Decision, expected: str | None) -> None:
    refusal = refusal_of(version, decision, expected)
    if refusal is not None:
        raise PromotionError(*refusal)
    require_approval(version, decision)


def _require_served(seen: RegistryEntry, version: str) -> None:
    if version not in {name for line in seen.promotions for name in (line.version, line.previous)}:
        raise PromotionError(
            f"model {seen.name}: version {version} has never served", "name a version that has served"
        )


def decision_of(client: MlflowClient, version: ModelVersion) -> Decision:
    """Read the decision on a version.

    Raises
    ------
    PromotionError
        The version has no decision, or it was deleted.
    """
    from mlflow.exceptions import MlflowException

    run, model = retrain_of(client, version), version.name
    if run is not None:
        try:
            decision = Decision.from_json(read_json(client, run.info.run_id, DECISION_FILE))
        except (MlflowException, OSError) as error:
            if may_pass(error):
                raise
        else:
            return _own(decision, version)
    raise PromotionError(
        f"model {model}: version {version.version} has no decision",
        f"retrain (evermodel train {model}), which evaluates a version; --force does not replace a decision",
    )


def _own(decision: Decision, version: ModelVersion) -> Decision:
    """Return the decision, or raise if it was copied from another model or retrain."""
    key, made = version.tags.get(RUN_KEY, ""), decision.run_key
    # A version of another environment has that one's key behind its own.
    same = key == made or (ORIGIN in version.tags and key.endswith(f"/{made}"))
    if decision.model != version.name or not same:
        raise PromotionError(
            f"model {version.name}: the decision on version {version.version} is one on model {decision.model}, retrain {made}",
            "retrain; what put another decision in its place needs an investigation",
        )
    return decision


def require_ship(decision: Decision) -> None:
    """Raise `PromotionError` if the decision is negative; registration and deployment both call this first."""
    if not decision.ship:
        raise PromotionError(
            f"model {decision.model}: the decision on {decision.candidate} of run {decision.run_key} is "
            f"not to promote ({_failed(decision)})",
            "retrain; to ship the challenger anyway, retrain with `force_reason` (evermodel train --force-reason)",
        )


def require_content(client: MlflowClient, version: ModelVersion) -> None:
    """Refuse a version whose stored files are not those that its decision lists; what makes it a champion calls this.

    Raises
    ------
    ModelChangedError
        A file was changed, is missing or was added.
    """
    with tempfile.TemporaryDirectory(prefix="evermodel-content-") as folder:
        download(client, f"models:/{version.name}/{version.version}", Path(folder), version)


def refusal_of(version: ModelVersion, decision: Decision, current: str | None) -> tuple[str, str] | None:
    """Return why its decision keeps a version from being promoted, and what to do; None if it does not.

    Parameters
    ----------
    current
        The champion that it would follow.

    Raises
    ------
    PromotionError
        The version is the champion.
    """
    model = version.name
    if current == str(version.version):
        raise PromotionError(
            f"model {model}: version {version.version} is the champion", "name another version"
        )
    force = "or use --force, which is recorded in the history"
    if not decision.ship:
        return (
            f"model {model}: the decision on version {version.version} is not to promote ({_failed(decision)})",
            f"retrain, {force}",
        )
    if version.tags.get(DECISION, decision.digest) != decision.digest:
        return (
            f"model {model}: the decision on version {version.version} has changed since the version was registered",
            f"retrain, {force}",
        )
    # A version of another environment was evaluated against the champion there.
    if decision.parent != current and ORIGIN not in version.tags:
        return (
            f"model {model}: version {version.version} was evaluated against {_named(decision.parent)}, "
            f"but the champion is {_named(current)}",
            f"retrain, which evaluates against the current champion; for a version that served before, "
            f"use evermodel rollback; {force}",
        )
    return None


def _named(version: str | None) -> str:
    return "no version" if version is None else f"version {version}"


def _failed(decision: Decision) -> str:
    return ", ".join(gate.name for gate in decision.failed) or decision.verdict


def require_approval(version: ModelVersion, decision: Decision) -> None:
    """Refuse a version that nobody approved, unless its decision says that no approval is required.

    An approval holds for one version and one decision. ``auto`` holds if the spec said so when the decision was made,
    or, for a version of another environment, when it arrived.

    Raises
    ------
    ApprovalError
        There is no approval, a rejection, or the approval of another decision.
    """
    model, number, answer = version.name, version.version, Approval.from_version(version)
    here = ORIGIN not in version.tags
    if answer is None:
        if decision.approval == AUTO and here:
            return
        task = (
            f"answer the form of the task approve in the DAG {dag_id('retrain', model)}, or " if here else ""
        )
        raise ApprovalError(
            f"model {model}: version {number} is not approved",
            f'{task}run evermodel promote {model} {number} --approve --reason "…"',
        )
    if not answer.approved:
        raise ApprovalError(
            f"model {model}: version {number} was rejected by {answer.by}",
            "start the retrain DAG again for a new challenger",
        )
    if answer.by == AUTO and here and decision.approval not in (AUTO, ""):
        raise ApprovalError(
            f"model {model}: version {number} is not approved: the spec required an approval when the decision was made",
            f"answer the form of the task approve in the DAG {dag_id('retrain', model)}",
        )
    # Releases that wrote no mode into the decision wrote no digest beside the approval.
    if answer.by != AUTO and answer.digest != decision.digest and (decision.approval or answer.digest):
        raise ApprovalError(
            f"model {model}: {answer.by} approved the decision {answer.digest or '(unknown)'} on version {number}, "
            f"but decision.json is now {decision.digest}: it changed after the approval was requested",
            "start the retrain DAG again to request approval of the current decision",
        )


def require_eligible(client: MlflowClient, version: ModelVersion, champion: str) -> None:
    """Check that a version may be rolled out, or may go on.

    Raises
    ------
    RolloutError
        The version is champion, has a negative decision or is not approved.
    PromotionError
        The version has no decision.
    """
    model, number = version.name, version.version
    if str(number) == champion:
        raise RolloutError(f"model {model}: version {number} is the champion", "name another version")
    decision = decision_of(client, version)
    refusal = refusal_of(version, decision, champion)
    if refusal is not None:
        raise RolloutError(refusal[0], "retrain, which evaluates a version against the current champion")
    try:
        require_approval(version, decision)
    except ApprovalError as error:
        raise RolloutError(error.problem, error.advice) from error
