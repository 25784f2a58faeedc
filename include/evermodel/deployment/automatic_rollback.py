"""The guard of a new champion: sends it back by itself when it fails requests, is too slow, or answers badly."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from evermodel.core.errors import PromotionError, RegistryConflictError, RollbackError
from evermodel.deployment.eligibility import decision_of
from evermodel.deployment.rollback import roll_back, rollback_target, served_by
from evermodel.modeling.tasks import primary
from evermodel.registry.registry import AUTOMATIC, ModelRegistry
from evermodel.registry.registry_entry import Promotion, RegistryEntry
from evermodel.registry.serving_heartbeats import Reports, VersionCounts, added, read_reports
from evermodel.spec import ModelSpec
from evermodel.spec.rollout import RollbackSpec
from evermodel.stats.histogram import quantile, slower_than
from evermodel.stats.sequential import above

if TYPE_CHECKING:
    from pathlib import Path

    from evermodel.monitoring.drift.verdict import DriftVerdict
    from evermodel.registry.client import MlflowClient

_LOG = logging.getLogger(__name__)
_KEY = "guard/"
LEVEL = 0.01  # chance that a champion that keeps its limits is ever sent back for errors or response times
_CHECKS = 2
_TAIL = 0.01  # a p99 leaves so much above it
_TOLD_FOR = timedelta(days=1)
_SKEW = timedelta(minutes=1)  # clocks of two machines


def watch_serving(spec: ModelSpec, client: MlflowClient, lake: Path, now: datetime) -> Promotion | None:
    """Hold what the serving processes counted since the promotion against the limits, and act on it.

    Returns
    -------
    The rollback, if there is one: made now, or by the guard before and still the last word (so that a message that
    was not sent is sent); None while all is well.
    """
    seen = ModelRegistry(client).read(spec.name)
    past = seen.promotions
    promotion = guarded(past, spec.rollback.within, now)
    if promotion is None:
        return _own(past, now)
    counts = counts_since(read_reports(lake, spec.name, now), promotion)
    return _act(spec, client, lake, seen, promotion, serving_fault(spec.rollback, counts))


def watch_quality(
    spec: ModelSpec,
    client: MlflowClient,
    verdict: DriftVerdict,
    as_of: datetime,
    lake: Path | None = None,
) -> Promotion | None:
    """Hold the verdict on matured labels against the promise of the champion, and act on it.

    Parameters
    ----------
    as_of
        The day of the verdict; it has to follow the promotion, and by no more than the spec allows.
    lake
        Where serving processes report; that of the environment if not given.

    Returns
    -------
    See `watch_serving`.
    """
    seen = ModelRegistry(client).read(spec.name)
    past = seen.promotions
    promotion = guarded(past, spec.rollback.within, as_of)
    if promotion is None:
        return _own(past, as_of)
    before = _before(spec, client, promotion) if _goes_to_previous(spec, past, promotion, lake) else None
    return _act(spec, client, lake, seen, promotion, quality_fault(spec, promotion, verdict, before))


def guarded(past: Sequence[Promotion], within: timedelta, now: datetime) -> Promotion | None:
    """Return the promotion that may still be taken back: the last line of the history, not itself a rollback.

    Parameters
    ----------
    past
        The history, oldest first.
    within
        So long after the promotion.
    """
    last = past[-1] if past else None
    if last is None or last.kind == "rollback" or last.previous is None:
        return None
    age = now - datetime.fromisoformat(last.at)
    return last if timedelta(0) <= age <= within else None


def counts_since(reports: Reports, promotion: Promotion) -> VersionCounts:
    """Add up what all processes counted for the champion since its promotion, also those that are gone."""
    began = datetime.fromisoformat(promotion.at) - _SKEW
    total = VersionCounts()
    for report in (*reports.live, *reports.gone):
        fresh = report.version == promotion.version and datetime.fromisoformat(report.since) >= began
        if fresh and promotion.version in report.counts:
            total = added(total, report.counts[promotion.version])
    return total


def serving_fault(spec: RollbackSpec, counts: VersionCounts) -> str | None:
    """Say which limit the champion broke; None if none is proved to be broken.

    The tests may be looked at as often as one likes (see `evermodel.stats.sequential`): a champion at its limits is
    sent back with a chance of at most `LEVEL` in all, however many looks there are.
    """
    if counts.requests < spec.min_requests:
        return None
    proof = math.log(_CHECKS / LEVEL)
    if spec.error_rate is not None and _too_many(counts.errors, counts.requests, spec.error_rate, proof):
        rate = counts.errors / counts.requests
        return f"{counts.errors:,} of {counts.requests:,} requests failed ({rate:.2%}), at most {spec.error_rate:.2%} may"
    if spec.p99_ms is not None:
        slow, total = slower_than(counts.buckets, spec.p99_ms / 1000)
        if _too_many(slow, total, _TAIL, proof):
            p99 = 1000 * quantile(counts.buckets, 1 - _TAIL)
            return f"p99 is {p99:.3g} ms over {total:,} requests, at most {spec.p99_ms:g} ms may be"
    return None


def _too_many(hits: int, tries: int, limit: float, proof: float) -> bool:
    if limit >= 1 or tries == 0:
        return False
    return hits > 0 if limit <= 0 else bool(above(hits, tries, limit) >= proof)


def quality_fault(
    spec: ModelSpec, promotion: Promotion, verdict: DriftVerdict, before: float | None
) -> str | None:
    """Say why the champion's answers are no longer good enough; None if nothing says so, or if going back is no cure.

    Parameters
    ----------
    before
        What the version before scored on the rows on which the champion was chosen; None if that is not known.
    """
    problem, quality = verdict.problem("performance"), verdict.problem("quality")
    if verdict.version != promotion.version or problem is None or problem.severity != "critical":
        return None
    if quality is not None and quality.severity == "critical":
        return None  # the data is broken, and no version could answer better
    value = verdict.performance.value
    if value is not None and before is not None and primary(spec).gain(value, before) >= 0:
        return None  # as bad as it is, the version before was no better when it was last measured
    return problem.reason


def _goes_to_previous(
    spec: ModelSpec, past: Sequence[Promotion], promotion: Promotion, lake: Path | None
) -> bool:
    try:
        way = rollback_target(spec.name, past, promotion.version, served_by(spec.name, lake))
    except RollbackError:
        return False
    return way.version == promotion.previous


def _before(spec: ModelSpec, client: MlflowClient, promotion: Promotion) -> float | None:
    try:
        version = client.get_model_version(spec.name, promotion.version)
        decision = decision_of(client, version)
    except PromotionError:
        return None
    same = decision.parent == promotion.previous and decision.metric == spec.gate.metric
    return decision.champion[0] if decision.champion and same else None


def _act(
    spec: ModelSpec,
    client: MlflowClient,
    lake: Path | None,
    seen: RegistryEntry,
    promotion: Promotion,
    fault: str | None,
) -> Promotion | None:
    """Roll back once for each promotion; a rollback that was begun and cut off is completed."""
    key = f"{_KEY}{promotion.run_key}"
    if fault is None and seen.unfinished(key) is None:
        return None
    reason = f"automatic: {fault or 'a rollback that was begun'}"
    try:
        return roll_back(
            client,
            spec.name,
            by=AUTOMATIC,
            reason=reason,
            run_key=key,
            expected=promotion.version,
            lake=lake,
        )
    except (RegistryConflictError, RollbackError) as error:
        _LOG.warning("version %s of %s is not sent back: %s", promotion.version, spec.name, error)
        return None


def _own(past: Sequence[Promotion], now: datetime) -> Promotion | None:
    """Return the guard's own rollback, while it is the last word and of the last day."""
    last = past[-1] if past else None
    if last is None or not last.run_key.startswith(_KEY):
        return None
    return last if now - datetime.fromisoformat(last.at) < _TOLD_FOR else None
