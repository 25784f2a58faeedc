"""Back to the last version that really served, in one step that is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evermodel import registry
from evermodel.errors import RollbackError
from evermodel.registry import Promotion

if TYPE_CHECKING:
    from mlflow import MlflowClient


def roll_back(
    client: MlflowClient,
    model: str,
    *,
    by: str,
    reason: str,
    run_key: str,
    version: str | None = None,
    expected: str | None = None,
) -> Promotion:
    """Make an earlier champion the champion again; serving processes pick it up by themselves.

    A rollout that is under way ends with it: its plan holds only while its champion serves. A retrain that was judged
    against the champion of before is refused when it wants to deploy.

    Parameters
    ----------
    version
        A version that served before; the last one that did if not given.
    run_key
        Idempotency key: the same one again rolls back once, and completes a rollback that was cut off.
    expected
        The champion that is to go; None for whichever it is.

    Raises
    ------
    NoChampionError
        Nothing serves yet.
    RollbackError
        There is no earlier champion, the version never served or serves already, or there is no reason.
    RegistryConflictError
        Another version than the expected one is champion.
    """
    past = registry.history(client, model)
    done = next((promotion for promotion in past if promotion.run_key == run_key), None)
    if done is not None:
        _stop_rollout(client, model, done)
        return done
    if not reason.strip():
        raise RollbackError(
            f"model {model}: a rollback needs a reason", "say why; it is kept in the registry's history"
        )
    current = str(registry.champion(client, model).version)
    target = version or _before(model, past, current)
    if not registry.begun(client, model, run_key):
        _require_served(model, past, target, current)
    done = registry.promote(
        client,
        model,
        target,
        expected=expected or current,
        by=by,
        reason=reason,
        run_key=run_key,
        kind="rollback",
    )
    _stop_rollout(client, model, done)
    return done


def _stop_rollout(client: MlflowClient, model: str, done: Promotion) -> None:
    """Say of a rollout under way that it is over; one that was started after the rollback goes on."""
    from evermodel.rollout.in_flight import stop_in_flight

    if str(registry.champion(client, model).version) == done.version:
        why = f"stopped by a rollback to version {done.version} ({done.by}: {done.reason})"
        stop_in_flight(client, model, why, done.version)


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


def _before(model: str, past: Sequence[Promotion], current: str) -> str:
    earlier = [version for version in line_of_succession(past) if version != current]
    if not earlier:
        raise RollbackError(
            f"model {model}: version {current} is the first that serves, there is nothing to go back to",
            f"retrain (DAG retrain_{model}), or let the callers do without the model",
        )
    return earlier[-1]


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
