"""Promotion by hand: makes a registered version the champion if its decision allows it, or by force."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evermodel.core.errors import PromotionError
from evermodel.deployment.eligibility import decision_of, promote, refusal_of
from evermodel.deployment.rollout.moves import stop_active_rollout
from evermodel.registry.approval import Approval, record_answer
from evermodel.registry.audit import audit
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion, RegistryEntry
from evermodel.registry.retrain_run import note_outcome
from evermodel.registry.tags import RetrainOutcome

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion


def promote_version(
    client: MlflowClient, model: str, version: str, *, by: str, reason: str, run_key: str, force: bool = False
) -> Promotion:
    """Make a registered version the champion.

    Its decision has to be to promote, against the current champion. With `force` neither is required, and the history
    records it.

    Parameters
    ----------
    run_key
        Idempotency key: the same key again promotes once.

    Raises
    ------
    PromotionError
        The version does not exist, is champion, has no decision or one that does not allow it, or there is no reason.
    """
    if not reason.strip():
        raise PromotionError(
            f"model {model}: a promotion by hand needs a reason", "pass a reason; the history records it"
        )
    registry = ModelRegistry(client)
    found, seen = registry.version(model, version), registry.read(model)
    forced = False
    if seen.completed(run_key) is None:
        forced = _approve(client, found, seen, by, reason, run_key, force=force)
    with registry.holding(model) as held:
        again = held.entry.completed(run_key)
        done = again or promote(
            registry,
            held,
            version,
            expected=seen.champion,
            by=by,
            reason=f"forced: {reason}" if forced else reason,
            run_key=run_key,
            forced=forced,
        )
        if again is not None and again.version != held.entry.champion:
            return again  # what was promoted since then stays
    why = f"version {done.version} was promoted: {done.reason}"
    stop_active_rollout(client, held.entry, why, done.version, by)
    note_outcome(client, found, RetrainOutcome.DEPLOYED)
    return done


def _approve(
    client: MlflowClient,
    found: ModelVersion,
    seen: RegistryEntry,
    by: str,
    reason: str,
    run_key: str,
    *,
    force: bool,
) -> bool:
    """Record the person's approval; return whether it overrides a refusal."""
    model, version = seen.name, str(found.version)
    begun = seen.unfinished(run_key) is not None
    decision = decision_of(client, found)
    refusal = None if begun else refusal_of(found, decision, seen.champion) or _rejected(found)
    if refusal is not None and not force:
        raise PromotionError(*refusal)
    seen.require_own()  # before the approval is written
    if refusal is not None:
        reason = f"forced: {reason}"
        facts = {"version": version, "by": by, "reason": reason, "against": refusal[0], "run_key": run_key}
        audit(client, "override", model, seen.tags, **facts)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    record_answer(client, model, Approval(True, by, version, decision.digest, at, reason))
    return refusal is not None


def _rejected(version: ModelVersion) -> tuple[str, str] | None:
    answer = Approval.from_version(version)
    if answer is None or answer.approved:
        return None
    return (
        f"model {version.name}: version {version.version} was rejected by {answer.by}",
        "choose another version, or use --force, which is recorded in the history",
    )
