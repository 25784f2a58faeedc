"""Back to the last version that really served, in one step that is recorded."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.errors import RollbackError
from evermodel.core.settings import Settings
from evermodel.deployment.rollout.active import stop_active_rollout
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion, RegistryEntry
from evermodel.registry.serving_heartbeats import read_served

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class RollbackTarget:
    """Where a rollback goes.

    Parameters
    ----------
    version
        The version to go to.
    passed_over
        Later champions with which no serving process ever answered: they may be broken.
    """

    version: str
    passed_over: tuple[str, ...] = ()

    def reason(self, reason: str) -> str:
        """Return the reason of a rollback, with what was passed over.

        >>> RollbackTarget("2", ("3",)).reason("wrong answers")
        'wrong answers (passed over: version 3, no serving process ever answered with it)'
        """
        if not self.passed_over:
            return reason
        return f"{reason} (passed over: version {', '.join(self.passed_over)}, no serving process ever answered with it)"


def roll_back(
    client: MlflowClient,
    model: str,
    *,
    by: str,
    reason: str,
    run_key: str,
    version: str | None = None,
    expected: str | None = None,
    lake: Path | None = None,
) -> Promotion:
    """Make an earlier champion the champion again; serving processes pick it up by themselves.

    A rollout that is under way ends with it: its plan holds only while its champion serves. A retrain that was judged
    against the champion of before is refused when it wants to deploy.

    Parameters
    ----------
    version
        A version that served before; the last one that did if not given (see `rollback_target`).
    run_key
        Idempotency key: the same one again rolls back once, and completes a rollback that was cut off.
    expected
        The champion that is to go; None for whichever it is.
    lake
        Where serving processes report; that of the environment if not given.

    Raises
    ------
    NoChampionError
        Nothing serves yet.
    RollbackError
        There is no earlier champion, the version never served or serves already, or there is no reason.
    RegistryConflictError
        Another version than the expected one is champion.
    """
    registry, served = ModelRegistry(client), served_by(model, lake)
    seen = registry.read(model)
    done = seen.completed(run_key)
    if done is None:
        if not reason.strip():
            raise RollbackError(
                f"model {model}: a rollback needs a reason", "say why; it is kept in the registry's history"
            )
        way = _way(seen, run_key, version, served)
        done = registry.promote(
            seen,
            way.version,
            expected=expected or seen.champion,
            by=by,
            reason=way.reason(reason),
            run_key=run_key,
            kind="rollback",
        )
        if way.passed_over:
            _LOG.warning("model %s goes back to version %s: %s", model, done.version, done.reason)
    elif done.version != seen.champion:
        return done
    why = f"stopped by a rollback to version {done.version} ({done.by}: {done.reason})"
    stop_active_rollout(client, seen, why, done.version, done.by)
    return done


def _way(
    seen: RegistryEntry, run_key: str, version: str | None, served: Mapping[str, datetime]
) -> RollbackTarget:
    current, begun = seen.require_champion(), seen.unfinished(run_key)
    if begun is not None:
        return RollbackTarget(begun.promotion.version)
    way = RollbackTarget(version) if version else rollback_target(seen.name, seen.promotions, current, served)
    _require_served(seen.name, seen.promotions, way.version, current)
    return way


def served_by(model: str, lake: Path | None = None) -> Mapping[str, datetime]:
    """Return the versions with which a serving process ever answered, and since when that is known."""
    return read_served(lake or Settings.from_environment().lake, model)


def line_of_succession(past: Sequence[Promotion]) -> list[str]:
    """Return the champions that were not rolled back from, oldest first; the last one serves.

    >>> def promoted(version, kind="promotion"):
    ...     return Promotion(version, None, "", "", "", "", kind)
    >>> line_of_succession([promoted("1"), promoted("2"), promoted("3"), promoted("2", "rollback")])
    ['1', '2']
    """
    line: list[str] = []
    for promotion in past:
        if promotion.kind == "rollback" and promotion.version in line:
            del line[line.index(promotion.version) + 1 :]
        elif not line or line[-1] != promotion.version:
            line.append(promotion.version)
    return line


def rollback_target(
    model: str, past: Sequence[Promotion], current: str, served: Mapping[str, datetime]
) -> RollbackTarget:
    """Return the last champion before the current one that can be trusted to serve.

    A champion of a time in which serving processes reported, but never this version, may be one that cannot be loaded:
    going back to it would change nothing. Where nothing ever reported (scoring in batches), every champion counts.

    Parameters
    ----------
    past
        The history, oldest first.
    served
        See `served_by`.

    Raises
    ------
    RollbackError
        There is no such champion.
    """
    earlier = [version for version in line_of_succession(past) if version != current]
    if not earlier:
        raise RollbackError(
            f"model {model}: version {current} is the first that serves, there is nothing to go back to",
            f"retrain (DAG retrain_{model}), or let the callers do without the model",
        )
    passed: list[str] = []
    for version in dict.fromkeys(reversed(earlier)):
        if not _never_answered(version, past, served):
            return RollbackTarget(version, tuple(passed))
        passed.append(version)
    raise RollbackError(
        f"model {model}: no serving process ever answered with an earlier champion (version {', '.join(passed)})",
        f"retrain (DAG retrain_{model}), or name the version to go back to, if it is known to be good",
    )


def _never_answered(version: str, past: Sequence[Promotion], served: Mapping[str, datetime]) -> bool:
    if not served or version in served:
        return False
    last = max(datetime.fromisoformat(promotion.at) for promotion in past if promotion.version == version)
    return last > min(served.values())  # who was champion before anything was noted may have served


def _require_served(model: str, past: Sequence[Promotion], target: str, current: str) -> None:
    served = list(dict.fromkeys(promotion.version for promotion in past))
    if target == current:
        raise RollbackError(
            f"model {model}: version {target} is the champion already", "name an earlier version"
        )
    if target not in served:
        raise RollbackError(
            f"model {model}: version {target} never served, so nobody knows that it can",
            f"choose one that did: {', '.join(served) or 'none has'}",
        )
