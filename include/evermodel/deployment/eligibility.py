"""Whether a version may be promoted: its decision, and what speaks against it; every path to production asks here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel.core.errors import PromotionError
from evermodel.evaluation.decision import Decision
from evermodel.registry.retrain_run import DECISION_FILE, retrain_of
from evermodel.registry.tags import DECISION, ORIGIN
from evermodel.registry.tracking import read_json

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion


def decision_of(client: MlflowClient, version: ModelVersion) -> Decision:
    """Read the decision on a version.

    Raises
    ------
    PromotionError
        The version was never judged, or its decision is gone.
    """
    from mlflow.exceptions import MlflowException

    run, model = retrain_of(client, version), version.name
    if run is not None:
        try:
            return Decision.from_json(read_json(client, run.info.run_id, DECISION_FILE))
        except (MlflowException, OSError):
            pass
    raise PromotionError(
        f"model {model}: version {version.version} was never judged: there is no decision on it",
        f"retrain (evermodel train {model}), so that a version of this spec is judged; not even --force skips this",
    )


def require_ship(decision: Decision) -> None:
    """Refuse a challenger whose decision says no: registering it and deploying it both start here, whoever calls.

    Raises
    ------
    PromotionError
        A gate failed, and nobody forced the challenger.
    """
    if not decision.ship:
        raise PromotionError(
            f"model {decision.model}: the decision on {decision.candidate} of run {decision.run_key} is no "
            f"({_failed(decision)})",
            "retrain; to ship it all the same, start a retrain with `force_reason` (evermodel train --force-reason)",
        )


def refusal_of(client: MlflowClient, version: ModelVersion, current: str | None) -> tuple[str, str] | None:
    """Say what speaks against a promotion over the current champion, and what to do.

    Raises
    ------
    PromotionError
        The version is the champion already, was never judged, or its decision is gone.
    """
    model = version.name
    if current == str(version.version):
        raise PromotionError(
            f"model {model}: version {version.version} is the champion already", "nothing is to be done"
        )
    decision = decision_of(client, version)
    force = "or --force, which is kept in the history"
    if not decision.ship:
        return (
            f"model {model}: the decision on version {version.version} is no ({_failed(decision)})",
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


def _failed(decision: Decision) -> str:
    return ", ".join(gate.name for gate in decision.gates if gate.verdict == "fail") or decision.verdict
