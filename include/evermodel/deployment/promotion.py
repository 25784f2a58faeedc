"""Promotion by hand: a registered version becomes champion if its decision allows it, or by force with a reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel.core.audit import audit
from evermodel.core.errors import PromotionError
from evermodel.deployment.rollout.active import stop_active_rollout
from evermodel.evaluation.decision import Decision
from evermodel.registry import registry
from evermodel.registry.ownership import require_own_model
from evermodel.registry.registry import Promotion
from evermodel.registry.retrain_run import DECISION_FILE, RETRAIN
from evermodel.registry.tags import APPROVED_BY, DECISION, ORIGIN, OUTCOME, RUN_KEY
from evermodel.registry.tracking import find_run, read_json

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


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


def decision_of(client: MlflowClient, model: str, version: ModelVersion) -> Decision:
    """Read the decision on a version.

    Raises
    ------
    PromotionError
        The version was never judged, or its decision is gone.
    """
    from mlflow.exceptions import MlflowException

    run = find_run(client, model, version.tags.get(RUN_KEY, ""), kind=RETRAIN)
    if run is not None:
        try:
            return Decision.from_json(read_json(client, run.info.run_id, DECISION_FILE))
        except (MlflowException, OSError):
            pass
    raise PromotionError(
        f"model {model}: version {version.version} was never judged: there is no decision on it",
        f"retrain (evermodel train {model}), so that a version of this spec is judged; not even --force skips this",
    )


def version_of(client: MlflowClient, model: str, version: str) -> ModelVersion:
    """Return a registered version, or say which ones there are."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(model, version)
    except MlflowException:
        known = sorted(int(v.version) for v in client.search_model_versions(f"name = '{model}'"))
        raise PromotionError(
            f"model {model} has no version {version}",
            f"its versions are {', '.join(map(str, known))}" if known else "it has none yet: retrain first",
        ) from None


def refusal_of(
    model: str, version: ModelVersion, decision: Decision, current: str | None
) -> tuple[str, str] | None:
    """Say what speaks against a promotion, and what to do."""
    force = "or --force, which is kept in the history"
    if not decision.ship:
        failed = ", ".join(gate.name for gate in decision.gates if gate.verdict == "fail")
        return (
            f"model {model}: the decision on version {version.version} is no ({failed})",
            f"retrain, {force}",
        )
    if version.tags.get(DECISION, decision.digest) != decision.digest:
        return (
            f"model {model}: the decision on version {version.version} was changed after the version was registered",
            f"retrain, {force}",
        )
    # One that was proven in another environment was judged against that one's champion.
    if decision.parent != current and ORIGIN not in version.tags:
        return (
            f"model {model}: version {version.version} was judged against "
            f"{_named(decision.parent)}, but {_named(current)} serves now",
            f"retrain, so that it is judged against today's champion; for a version that served before, "
            f"evermodel rollback; {force}",
        )
    return None


def _named(version: str | None) -> str:
    return "no champion" if version is None else f"version {version}"


def _note(client: MlflowClient, model: str, version: ModelVersion) -> None:
    """Tell the version's retrain that it was deployed after all."""
    run = find_run(client, model, version.tags.get(RUN_KEY, ""), kind=RETRAIN)
    if run is not None:
        client.set_tag(run.info.run_id, OUTCOME, "deployed")
