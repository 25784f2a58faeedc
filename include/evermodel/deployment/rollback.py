"""Rollback to the last version that served, in one recorded step."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import RollbackError
from evermodel.core.settings import Settings
from evermodel.deployment.eligibility import promote
from evermodel.deployment.rollout.moves import stop_active_rollout
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion, RegistryEntry, line_of_succession

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient
    from evermodel.registry.held_model import HeldModel
    from evermodel.registry.serving_reports import ServingReports

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RollbackTarget:
    """The target of a rollback.

    Parameters
    ----------
    passed_over
        Later champions that have never answered in a serving process, and may be broken.
    """

    version: str
    passed_over: tuple[str, ...] = ()

    def reason(self, reason: str) -> str:
        """Return the reason of a rollback, with the skipped versions.

        >>> RollbackTarget("2", ("3",)).reason("wrong answers")
        'wrong answers (skipped: version 3, which has never answered in a serving process)'
        """
        if not self.passed_over:
            return reason
        return f"{reason} (skipped: version {', '.join(self.passed_over)}, which has never answered in a serving process)"


def roll_back(
    client: MlflowClient,
    model: str,
    *,
    by: str,
    reason: str,
    run_key: str | None = None,
    version: str | None = None,
    expected: str | None = None,
    reports: ServingReports | None = None,
) -> Promotion:
    """Make an earlier champion the champion again; serving processes load it by themselves.

    A running rollout ends, because its plan holds only while its champion serves. A retrain that was evaluated against
    the champion before is not deployed.

    Parameters
    ----------
    version
        A version that served before; the last one if not given (see `rollback_target`).
    run_key
        Idempotency key: the same key again rolls back once, and completes an interrupted rollback. Without one, the
        call that finds an interrupted rollback completes it, and goes no further back.
    expected
        The champion to replace; None: any.
    reports
        Those of the serving processes; those of this environment if not given.

    Raises
    ------
    NoChampionError
        The model has no champion.
    RollbackError
        There is no earlier champion, the version never served or serves already, or there is no reason.
    RegistryConflictError
        Another version than the expected one is champion.
    """
    registry, served = ModelRegistry(client), served_by(model, reports)
    key = run_key or f"rollback/{model}/{uuid.uuid4().hex[:12]}"
    with registry.holding(model) as held:
        seen = held.entry
        done = seen.completed(key)
        if done is None and run_key is None and held.completed and held.completed.kind == "rollback":
            done = held.completed
        elif done is None:
            done = _roll_back(registry, held, key, by, reason, expected, _target(seen, key, version, served))
        elif done.version != seen.champion:
            return done
    why = f"stopped by a rollback to version {done.version} ({done.by}: {done.reason})"
    stop_active_rollout(client, seen, why, done.version, done.by)
    return done


def _roll_back(
    registry: ModelRegistry,
    held: HeldModel,
    key: str,
    by: str,
    reason: str,
    expected: str | None,
    target: RollbackTarget,
) -> Promotion:
    model = held.entry.name
    if not reason.strip():
        raise RollbackError(
            f"model {model}: a rollback needs a reason", "pass a reason; the history records it"
        )
    done = promote(
        registry,
        held,
        target.version,
        expected=expected or held.entry.champion,
        by=by,
        reason=target.reason(reason),
        run_key=key,
        kind="rollback",
    )
    if target.passed_over:
        _LOG.warning("model %s is rolled back to version %s: %s", model, done.version, done.reason)
    return done


def _target(
    seen: RegistryEntry, run_key: str, version: str | None, served: Mapping[str, datetime]
) -> RollbackTarget:
    current, begun = seen.require_champion(), seen.unfinished(run_key)
    if begun is not None:
        return RollbackTarget(begun.promotion.version)
    target = (
        RollbackTarget(version) if version else rollback_target(seen.name, seen.promotions, current, served)
    )
    _require_served(seen.name, seen.promotions, target.version, current)
    return target


def served_by(model: str, reports: ServingReports | None = None) -> Mapping[str, datetime]:
    """Return the versions that have answered in a serving process, and since when."""
    from evermodel.registry.serving_reports import ServingReports

    return (reports or ServingReports.of(Settings.from_environment())).served(model)


def rollback_target(
    model: str, past: Sequence[Promotion], current: str, served: Mapping[str, datetime]
) -> RollbackTarget:
    """Return the last champion before the current one that has served; raises `RollbackError` if there is none.

    A champion that was never in the reports of the serving processes may not be loadable, and a rollback to it would
    have no effect. Without reports (batch scoring), every champion counts.

    Parameters
    ----------
    served
        See `served_by`.
    """
    earlier = [version for version in line_of_succession(past) if version != current]
    if not earlier:
        raise RollbackError(
            f"model {model}: version {current} is the first champion, so that there is no version to roll back to",
            f"retrain (run the DAG {dag_id('retrain', model)}), or stop using the model",
        )
    passed: list[str] = []
    for version in dict.fromkeys(reversed(earlier)):
        if not _never_answered(version, past, served):
            return RollbackTarget(version, tuple(passed))
        passed.append(version)
    raise RollbackError(
        f"model {model}: no earlier champion (version {', '.join(passed)}) has answered in a serving process",
        f"retrain (run the DAG {dag_id('retrain', model)}), or name a version that is known to work",
    )


def _never_answered(version: str, past: Sequence[Promotion], served: Mapping[str, datetime]) -> bool:
    if not served or version in served:
        return False
    last = max(datetime.fromisoformat(promotion.at) for promotion in past if promotion.version == version)
    return last > min(served.values())  # an earlier champion may have served before the first report


def _require_served(model: str, past: Sequence[Promotion], target: str, current: str) -> None:
    served = list(dict.fromkeys(promotion.version for promotion in past))
    if target == current:
        raise RollbackError(f"model {model}: version {target} is the champion", "name an earlier version")
    if target not in served:
        raise RollbackError(
            f"model {model}: version {target} has never served",
            f"name a version that has served: {', '.join(served)}",
        )
