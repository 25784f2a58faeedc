"""Deploy a registered version as declared in the spec: after an approval, by a rollout, or at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from evermodel.core.errors import ApprovalError, PromotionError
from evermodel.core.settings import Settings
from evermodel.deployment.eligibility import decision_of, promote, refusal_of
from evermodel.deployment.rollout.moves import stop_active_rollout
from evermodel.deployment.rollout.service import RolloutService
from evermodel.registry import tags as tag
from evermodel.registry.approval import AUTO, Approval, Approver, record_answer
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import RegistryEntry
from evermodel.registry.retrain_run import note_outcome
from evermodel.registry.tags import RetrainOutcome
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion

Outcome = Literal[
    "champion", "rolling out", "waits for approval", "held back", "served before", "rollout ended"
]
_SAID: dict[Outcome, RetrainOutcome] = {
    "champion": RetrainOutcome.DEPLOYED,
    "rolling out": RetrainOutcome.ROLLING_OUT,
    "waits for approval": RetrainOutcome.WAITS,
    "held back": RetrainOutcome.KEPT,
}


@dataclass(frozen=True)
class Deployment:
    """What became of a version.

    Parameters
    ----------
    outcome
        ``held back``: its decision does not allow it. ``served before`` and ``rollout ended``: it had its turn, and
        is not given another one.
    previous
        The champion before it, or the one that stays.
    strategy
        Of its rollout; empty if there is none.
    why
        What holds it back, or how its rollout ended.
    """

    model: str
    version: str
    outcome: Outcome
    previous: str | None
    strategy: str = ""
    why: str = ""


def deploy(
    spec: ModelSpec, version: str, client: MlflowClient, settings: Settings, *, by: str, reason: str
) -> Deployment:
    """Deploy a registered version as far as the spec allows; a repetition changes nothing.

    Raises
    ------
    PromotionError
        There is no such version, or it was never evaluated.
    RolloutError
        Another version is being rolled out, and the spec wants a rollout.
    """
    registry = ModelRegistry(client, settings.environment)
    found, seen = registry.version(spec.name, version), registry.read(spec.name)
    key = found.tags[tag.RUN_KEY]
    if seen.champion == version or seen.completed(key) or seen.unfinished(key):
        done = _settle(registry, found, seen, by, reason)
    else:
        known = _turn(found, seen) or _held(spec, client, found, seen.champion)
        done = known or _begin(spec, registry, settings, found, seen, by, reason)
    if done.outcome in _SAID:
        note_outcome(client, found, _SAID[done.outcome])
    return done


def approve(
    spec: ModelSpec, version: str, client: MlflowClient, settings: Settings, *, by: str, reason: str
) -> Deployment:
    """Approve a waiting version, and deploy it; the approval is bound to the current decision.

    Parameters
    ----------
    by
        Login of the person, one of the spec's `approvers` if it names any.
    reason
        Why; kept on the version and in the history.

    Raises
    ------
    ApprovalError
        The person may not approve, gave no reason, or the version was rejected.
    PromotionError
        There is no such version, it had its turn, or its decision does not allow it.
    WrongEnvironmentError
        The model belongs to another environment.
    """
    model = spec.name
    require_approver_login(spec, by)
    if not reason.strip():
        raise ApprovalError(
            f"model {model}: an approval needs a reason", "pass --reason; it is stored on the version"
        )
    registry = ModelRegistry(client)
    found, seen = registry.version(model, version), registry.read(model)
    seen.require_own()
    answer = Approval.from_version(found)
    if answer is not None and not answer.approved:
        raise ApprovalError(
            f"model {model}: version {version} was rejected by {answer.by}",
            "choose another version",
        )
    decision = decision_of(client, found)
    refusal = refusal_of(found, decision, seen.champion)
    if refusal is not None:
        raise PromotionError(*refusal)
    if answer is None or answer.digest != decision.digest:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        record_answer(client, model, Approval(True, by, version, decision.digest, at, reason))
    return deploy(spec, version, client, settings, by=by, reason=reason)


def require_approver_login(spec: ModelSpec, by: str, *, force: bool = False) -> None:
    """Reject a login that is not among the spec's approvers, if the spec requires approval or the gates are overruled.

    Raises
    ------
    ApprovalError
        The spec names others.
    """
    names = [Approver.parse(text).name for text in spec.approvers]
    if (force or spec.approval == "manual") and names and by not in names:
        raise ApprovalError(
            f"model {spec.name}: {by} may not approve a version: the spec names {', '.join(names)}",
            "run this command as one of them",
        )


def _settle(
    registry: ModelRegistry, version: ModelVersion, seen: RegistryEntry, by: str, reason: str
) -> Deployment:
    """Promote a version, or complete an interrupted promotion; end a rollout against the former champion."""
    model, number, key = version.name, str(version.version), version.tags[tag.RUN_KEY]
    done = seen.completed(key)
    if done is not None and seen.champion != number:
        return Deployment(model, number, "served before", seen.champion)
    if done is None and (seen.champion != number or seen.unfinished(key)):
        why = _proven(version, reason)
        with registry.holding(model) as held:
            done = promote(registry, held, number, expected=seen.champion, by=by, reason=why, run_key=key)
    stop_active_rollout(registry.client, seen, f"version {number} was promoted: {reason}", number, by)
    lines = [line for line in (*seen.promotions, *filter(None, [done])) if line.version == number]
    return Deployment(model, number, "champion", lines[-1].previous if lines else None)


def _turn(version: ModelVersion, seen: RegistryEntry) -> Deployment | None:
    """Return the state of a version's rollout, or its result; None if it never had one."""
    model, number, tags, current = version.name, str(version.version), version.tags, seen.champion
    plan = seen.plan
    mine = plan if plan is not None and plan.challenger == number else None
    if mine is not None and mine.holds(current):
        return Deployment(model, number, "rolling out", current, mine.strategy)
    if number in {line.version for line in seen.promotions}:
        return Deployment(model, number, "served before", current)
    if mine is None and tag.ROLLOUT_OUTCOME not in tags:
        return None
    strategy = mine.strategy if mine else ""
    why = (mine and mine.verdict) or tags.get(tag.ROLLOUT_REASON) or "another version became champion"
    return Deployment(model, number, "rollout ended", current, strategy, why)


def _held(
    spec: ModelSpec, client: MlflowClient, version: ModelVersion, current: str | None
) -> Deployment | None:
    """Return what a version waits for; None if it can be deployed."""
    model, number = spec.name, str(version.version)
    decision = decision_of(client, version)
    refusal = refusal_of(version, decision, current)
    if refusal is not None:
        return Deployment(model, number, "held back", current, why=refusal[0])
    answer = Approval.from_version(version)
    if answer is not None and not answer.approved:
        return Deployment(model, number, "held back", current, why=f"rejected by {answer.by}")
    # A version of another environment waits as the spec of this one says.
    mode = spec.approval if tag.ORIGIN in version.tags else decision.approval or spec.approval
    if answer is None and "manual" in (mode, spec.approval):
        return Deployment(model, number, "waits for approval", current)
    return None


def _begin(
    spec: ModelSpec,
    registry: ModelRegistry,
    settings: Settings,
    version: ModelVersion,
    seen: RegistryEntry,
    by: str,
    reason: str,
) -> Deployment:
    """Start the spec's rollout, or promote if it has none or no champion exists."""
    number, key = str(version.version), f"rollout/{version.tags[tag.RUN_KEY]}"
    if Approval.from_version(version) is None:
        seen.require_own(settings.environment)
        record_answer(registry.client, spec.name, Approval(True, AUTO, number))
    if spec.rollout.strategy == "direct" or seen.champion is None:
        return _settle(registry, version, seen, by, reason)
    plan = RolloutService(spec, registry.client, settings).start(
        number, by=by, reason=_proven(version, reason), run_key=key
    )
    return Deployment(spec.name, number, "rolling out", seen.champion, plan.strategy)


def _proven(version: ModelVersion, reason: str) -> str:
    origin = version.tags.get(tag.ORIGIN)
    return f"{reason} (proven in {origin})" if origin else reason
