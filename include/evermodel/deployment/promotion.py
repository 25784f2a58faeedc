"""Promotion by hand: a registered version becomes champion if its decision allows it, or by force with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel.core.audit import audit
from evermodel.core.errors import PromotionError
from evermodel.deployment.eligibility import decision_of, refusal_of, version_of
from evermodel.deployment.rollout.active import stop_active_rollout
from evermodel.registry import registry
from evermodel.registry.ownership import require_own_model
from evermodel.registry.registry import Promotion
from evermodel.registry.retrain_run import RETRAIN
from evermodel.registry.tags import APPROVED_BY, OUTCOME, RUN_KEY
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
    found = version_of(client, model, version)
    champion = registry.alias_version(client, model, registry.CHAMPION)
    current = None if champion is None else str(champion.version)
    done = next((p for p in registry.history(client, model) if p.run_key == run_key), None)
    if done is not None:
        return done
    if current == str(found.version):
        raise PromotionError(
            f"model {model}: version {version} is the champion already", "nothing is to be done"
        )
    refusal = refusal_of(model, found, decision_of(client, model, found), current)
    if refusal is not None:
        problem, advice = refusal
        if not force:
            raise PromotionError(problem, advice)
        reason = f"forced: {reason}"
    require_own_model(client, model)  # before the yes is written
    client.set_model_version_tag(model, str(found.version), APPROVED_BY, by)
    done = registry.promote(
        client, model, str(found.version), expected=current, by=by, reason=reason, run_key=run_key
    )
    if refusal is not None:
        audit(
            "override", model, version=done.version, by=by, reason=reason, against=refusal[0], run_key=run_key
        )
    stop_active_rollout(client, model, f"version {done.version} was promoted: {reason}", done.version, by)
    _note(client, model, found)
    return done


def _note(client: MlflowClient, model: str, version: ModelVersion) -> None:
    """Tell the version's retrain that it was deployed after all."""
    run = find_run(client, model, version.tags.get(RUN_KEY, ""), kind=RETRAIN)
    if run is not None:
        client.set_tag(run.info.run_id, OUTCOME, "deployed")
