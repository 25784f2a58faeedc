"""Eligibility: whether a version may be promoted or rolled out, by its decision and approval; for every path to production."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.errors import PromotionError, RolloutError
from evermodel.evaluation.decision import Decision
from evermodel.modeling.model_store import download
from evermodel.registry.approval import Approval
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.retrain_run import DECISION_FILE, retrain_of
from evermodel.registry.tags import DECISION, ORIGIN
from evermodel.registry.tracking import read_json
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion


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
            return Decision.from_json(read_json(client, run.info.run_id, DECISION_FILE))
        except (MlflowException, OSError):
            pass
    raise PromotionError(
        f"model {model}: version {version.version} has no decision",
        f"retrain (evermodel train {model}), which evaluates a version; --force does not replace a decision",
    )


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
        download(client, f"models:/{version.name}/{version.version}", Path(folder))


def refusal_of(client: MlflowClient, version: ModelVersion, current: str | None) -> tuple[str, str] | None:
    """Return why a version may not be promoted over the current champion, and what to do; None if it may.

    Raises
    ------
    PromotionError
        The version is the champion, or has no decision.
    """
    model = version.name
    if current == str(version.version):
        raise PromotionError(
            f"model {model}: version {version.version} is the champion", "name another version"
        )
    decision = decision_of(client, version)
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


def require_eligible(client: MlflowClient, spec: ModelSpec, version: str, champion: str, reason: str) -> None:
    """Check that a version may be rolled out.

    Raises
    ------
    RolloutError
        There is no reason, or the version is champion, has a negative decision or is not approved.
    PromotionError
        The version does not exist, or has no decision.
    """
    model = spec.name
    if not reason.strip():
        raise RolloutError(
            f"model {model}: a rollout needs a reason", "pass a reason; the history records it"
        )
    found = ModelRegistry(client).version(model, version)
    if version == champion:
        raise RolloutError(f"model {model}: version {version} is the champion", "name another version")
    refusal = refusal_of(client, found, champion)
    require_content(client, found)
    if refusal is not None:
        raise RolloutError(refusal[0], "retrain, which evaluates a version against the current champion")
    approval = Approval.from_version(found)
    if not (spec.approval == "auto" if approval is None else approval.approved):
        by_hand = f'run evermodel promote {model} {version} --approve --reason "…"'
        form = f"answer the approval form of the task approve in the DAG retrain_{model}"
        raise RolloutError(
            f"model {model}: version {version} is not approved", by_hand if ORIGIN in found.tags else form
        )
