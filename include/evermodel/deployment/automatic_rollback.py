"""Automatic rollback of a new champion that fails requests, is too slow, or is worse than the version that it replaced."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from evermodel.core.errors import RegistryConflictError, RollbackError
from evermodel.deployment.rollback import roll_back, rollback_target, served_by
from evermodel.deployment.serving_watch import look
from evermodel.monitoring.performance.promotion_effect import WatchedPromotion
from evermodel.registry.registry import AUTOMATIC, ModelRegistry
from evermodel.registry.registry_entry import Promotion, RegistryEntry
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evermodel.monitoring.drift.verdict import DriftVerdict
    from evermodel.registry.client import MlflowClient
    from evermodel.registry.serving_reports import ServingReports

_LOG = logging.getLogger(__name__)
_KEY = "guard/"
_REPORTED_FOR = timedelta(days=1)


def watch_serving(
    spec: ModelSpec, client: MlflowClient, reports: ServingReports, now: datetime
) -> Promotion | None:
    """Look at what the serving processes have counted since the last look, and roll back if it shows a rise above a limit.

    What other models or versions show at the same time is an outage, and what one of several hosts shows is that host's
    fault: neither counts (see `serving_watch`).

    Returns
    -------
    The rollback made now, or the automatic rollback that is the last change, so that its message can be sent again;
    None if there is none.
    """
    seen = ModelRegistry(client).read(spec.name)
    past = seen.promotions
    promotion = revertible_promotion(past, spec.rollback.within, now)
    if promotion is None:
        return _own(past, now)
    fault = look(spec.rollback, reports, spec.name, promotion, now).fault(spec.rollback)
    return _act(spec, client, reports, seen, promotion, fault)


def watch_quality(
    spec: ModelSpec,
    client: MlflowClient,
    verdict: DriftVerdict,
    as_of: datetime,
    reports: ServingReports | None = None,
) -> Promotion | None:
    """Roll back a champion that is proved to be worse than the version that it replaced; see `watch_serving`.

    Parameters
    ----------
    as_of
        The day of the verdict; see `watched_promotion`.
    reports
        Those of the serving processes; those of this environment if not given.
    """
    seen = ModelRegistry(client).read(spec.name)
    watched = watched_promotion(spec, seen.promotions, as_of, reports)
    if watched is None:
        return _own(seen.promotions, as_of)
    fault = quality_fault(verdict, watched)
    return _act(spec, client, reports, seen, seen.promotions[-1], fault)


def watched_promotion(
    spec: ModelSpec, past: Sequence[Promotion], as_of: datetime, reports: ServingReports | None = None
) -> WatchedPromotion | None:
    """Return the promotion whose effect on quality is watched on a day, with the version that a rollback would go to.

    A promotion is watched for the time that the spec allows for a rollback, and for the delay of the labels after it.
    """
    promotion = revertible_promotion(past, spec.rollback.within + spec.label.delay, as_of)
    if promotion is None:
        return None
    try:
        target = rollback_target(spec.name, past, promotion.version, served_by(spec.name, reports))
    except RollbackError:
        return None
    return WatchedPromotion(promotion.version, target.version, datetime.fromisoformat(promotion.at))


def revertible_promotion(past: Sequence[Promotion], within: timedelta, now: datetime) -> Promotion | None:
    """Return the promotion that may be rolled back automatically: the last change, if it is not a rollback."""
    last = past[-1] if past else None
    if last is None or last.kind == "rollback" or last.previous is None:
        return None
    age = now - datetime.fromisoformat(last.at)
    return last if timedelta(0) <= age <= within else None


def quality_fault(verdict: DriftVerdict, watched: WatchedPromotion) -> str | None:
    """Return why the quality of the champion requires a rollback; None if it does not, or a rollback would not help."""
    effect, quality = verdict.promotion, verdict.problem("quality")
    if effect is None or not effect.hurt:
        return None
    if (effect.version, effect.replaced) != (watched.version, watched.replaced):
        return None
    if quality is not None and quality.severity == "critical":
        return None  # the data is broken, which no version corrects
    return str(effect)


def _act(
    spec: ModelSpec,
    client: MlflowClient,
    reports: ServingReports | None,
    seen: RegistryEntry,
    promotion: Promotion,
    fault: str | None,
) -> Promotion | None:
    """Roll back once for each promotion; an interrupted rollback is completed."""
    key = f"{_KEY}{promotion.run_key}"
    if fault is None and seen.unfinished(key) is None:
        return None
    reason = f"automatic: {fault or 'an interrupted rollback'}"
    try:
        return roll_back(
            client,
            spec.name,
            by=AUTOMATIC,
            reason=reason,
            run_key=key,
            expected=promotion.version,
            reports=reports,
        )
    except (RegistryConflictError, RollbackError) as error:
        _LOG.warning("version %s of %s is not rolled back: %s", promotion.version, spec.name, error)
        return None


def _own(past: Sequence[Promotion], now: datetime) -> Promotion | None:
    """Return the automatic rollback that is the last change, for one day."""
    last = past[-1] if past else None
    if last is None or not last.run_key.startswith(_KEY):
        return None
    return last if now - datetime.fromisoformat(last.at) < _REPORTED_FOR else None
