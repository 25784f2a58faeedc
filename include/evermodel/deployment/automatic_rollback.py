"""Automatic rollback of a new champion that fails requests, is too slow, or is worse than the version that it replaced."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from evermodel.core.errors import RegistryConflictError, RollbackError
from evermodel.deployment.rollback import roll_back, rollback_target, served_by
from evermodel.monitoring.performance.promotion_effect import WatchedPromotion
from evermodel.registry.registry import AUTOMATIC, ModelRegistry
from evermodel.registry.registry_entry import Promotion, RegistryEntry
from evermodel.registry.serving_heartbeats import Reports, VersionCounts, added
from evermodel.spec import ModelSpec
from evermodel.spec.rollout import RollbackSpec
from evermodel.stats.histogram import quantile, slower_than
from evermodel.stats.sequential import above

if TYPE_CHECKING:
    from evermodel.monitoring.drift.verdict import DriftVerdict
    from evermodel.registry.client import MlflowClient
    from evermodel.registry.serving_reports import ServingReports

_LOG = logging.getLogger(__name__)
_KEY = "guard/"
LEVEL = 0.01  # chance that a champion within its limits is ever rolled back for errors or response times
_CHECKS = 2
_TAIL = 0.01  # the part of the requests above a p99
_REPORTED_FOR = timedelta(days=1)
_SKEW = timedelta(minutes=1)  # clocks of two machines


def watch_serving(
    spec: ModelSpec, client: MlflowClient, reports: ServingReports, now: datetime
) -> Promotion | None:
    """Check the counts of the serving processes since the promotion, and roll back if they exceed a limit.

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
    counts = counts_since(reports.read(spec.name), promotion)
    return _act(spec, client, reports, seen, promotion, serving_fault(spec.rollback, counts))


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


def counts_since(reports: Reports, promotion: Promotion) -> VersionCounts:
    """Return the sum of all processes' counts of the champion since its promotion, stopped processes included."""
    began = datetime.fromisoformat(promotion.at) - _SKEW
    total = VersionCounts()
    for report in (*reports.live, *reports.gone):
        fresh = report.version == promotion.version and datetime.fromisoformat(report.since) >= began
        if fresh and promotion.version in report.counts:
            total = added(total, report.counts[promotion.version])
    return total


def serving_fault(spec: RollbackSpec, counts: VersionCounts) -> str | None:
    """Return the limit that the champion exceeds; None if none is proved to be exceeded.

    The tests are sequential (see `evermodel.stats.sequential`): a champion at its limits is rolled back with a chance of
    at most `LEVEL` over all evaluations.
    """
    if counts.requests < spec.min_requests:
        return None
    proof = math.log(_CHECKS / LEVEL)
    if spec.error_rate is not None and _too_many(counts.errors, counts.requests, spec.error_rate, proof):
        rate = counts.errors / counts.requests
        return f"{counts.errors:,} of {counts.requests:,} requests failed ({rate:.2%}), limit {spec.error_rate:.2%}"
    if spec.p99_ms is not None:
        slow, total = slower_than(counts.buckets, spec.p99_ms / 1000)
        if _too_many(slow, total, _TAIL, proof):
            p99 = 1000 * quantile(counts.buckets, 1 - _TAIL)
            return f"p99 is {p99:.3g} ms over {total:,} requests, limit {spec.p99_ms:g} ms"
    return None


def _too_many(hits: int, tries: int, limit: float, proof: float) -> bool:
    if limit >= 1 or tries == 0:
        return False
    return hits > 0 if limit <= 0 else bool(above(hits, tries, limit) >= proof)


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
