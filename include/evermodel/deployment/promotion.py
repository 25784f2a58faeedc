"""Promotion by hand: a registered version becomes champion if its decision allows it, or by force with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel.core.audit import audit
from evermodel.core.errors import PromotionError
from evermodel.deployment.eligibility import decision_of, refusal_of
from evermodel.deployment.rollout.active import stop_active_rollout
from evermodel.registry.ownership import require_own
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.retrain_run import RETRAIN
from evermodel.registry.tags import APPROVED_BY, OUTCOME, RUN_KEY, RetrainOutcome
from evermodel.registry.tracking import find_run

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion


def promote_version(
    client: MlflowClient, model: str, version: str, *, by: str, reason: str, run_key: str, force: bool = False
) -> Promotion:
    """Make a registered version the champion.

    Its decision has to say yes, and to have been made against today's champion. With `force` neither is asked, and
    the history says so.

    Parameters
    ----------
    version
        Number in the registry.
    reason
        Why; kept in the history.
    run_key
        Idempotency key: the same one again promotes once.

    Raises
    ------
    PromotionError
        There is no such version or no reason, the version was never judged, or its decision does not allow it.
    """
    if not reason.strip():
        raise PromotionError(
            f"model {model}: a promotion by hand needs a reason", "say why; it is kept in the history"
        )
    registry = ModelRegistry(client)
    found, seen = registry.version(model, version), registry.read(model)
    done = seen.completed(run_key)
    if done is not None:
        return done
    refusal = None
    if seen.unfinished(run_key) is None:
        refusal = _refusal(client, found, seen.champion)
    if refusal is not None:
        problem, advice = refusal
        if not force:
            raise PromotionError(problem, advice)
        reason = f"forced: {reason}"
    require_own(model, seen.tags)  # before the approval is written
    client.set_model_version_tag(model, str(found.version), APPROVED_BY, by)
    done = registry.promote(
        registry.read(model),
        str(found.version),
        expected=seen.champion,
        by=by,
        reason=reason,
        run_key=run_key,
    )
    if refusal is not None:
        audit(
            "override", model, version=done.version, by=by, reason=reason, against=refusal[0], run_key=run_key
        )
    stop_active_rollout(client, seen, f"version {done.version} was promoted: {reason}", done.version, by)
    _note(client, model, found)
    return done


def _refusal(client: MlflowClient, version: ModelVersion, champion: str | None) -> tuple[str, str] | None:
    """Say what speaks against a promotion that force may overrule; that the version serves already is none of it."""
    if champion == str(version.version):
        raise PromotionError(
            f"model {version.name}: version {version.version} is the champion already",
            "nothing is to be done",
        )
    return refusal_of(version.name, version, decision_of(client, version.name, version), champion)


def _note(client: MlflowClient, model: str, version: ModelVersion) -> None:
    """Tell the version's retrain that it was deployed after all."""
    run = find_run(client, model, version.tags.get(RUN_KEY, ""), kind=RETRAIN)
    if run is not None:
        client.set_tag(run.info.run_id, OUTCOME, RetrainOutcome.DEPLOYED)
