"""Collects the evidence of an evaluation: reports of serving processes, matured labels, the smoke test."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from evermodel.core.errors import SourceError, SourceUnavailableError
from evermodel.core.settings import Settings
from evermodel.deployment.rollout import blue_green
from evermodel.deployment.rollout.distribution import distribution
from evermodel.deployment.rollout.evidence import Evidence
from evermodel.deployment.rollout.history import StoredRollout, known_losses, rollout_baseline, with_losses
from evermodel.deployment.rollout.losses import loss_name, losses_by_version
from evermodel.deployment.rollout.smoke import smoke_test
from evermodel.registry.traffic_plan import TrafficPlan, since_step
from evermodel.spec import ModelSpec
from evermodel.spec.rollout import RolloutSpec
from evermodel.stats.sequential import Moments

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

_LOG = logging.getLogger(__name__)
_LABELS_EVERY = timedelta(hours=1)  # the source may be a warehouse that is billed by query
_BY_LABELS = ("ab_test", "bandit")


def collect_evidence(
    spec: ModelSpec,
    client: MlflowClient,
    settings: Settings,
    plan: TrafficPlan,
    stored: StoredRollout,
    now: datetime,
) -> tuple[Evidence, StoredRollout]:
    """Return the evidence, and the record with the losses added."""
    from evermodel.registry.serving_reports import ServingReports

    reports = ServingReports.of(settings).read(plan.model)
    counts = reports.counts(rollout=plan.run_key, revision=plan.revision)
    losses, stored = _losses(spec, settings, plan, stored, now)
    evidence = Evidence(counts, losses, loss_name(spec), baseline=rollout_baseline(stored))
    switching = plan.strategy == "blue_green" and plan.step == blue_green.SMOKE
    if switching and since_step(plan, now) >= spec.rollout.look:
        found = smoke_test(spec, client, settings, plan.challenger, plan.champion, now)
        evidence = replace(evidence, smoke=found)
    if _to_compare(spec.rollout, plan, evidence, now):
        evidence = replace(evidence, distribution=distribution(spec, settings.lake, plan, now))
    return evidence, stored


def _to_compare(spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> bool:
    """Tell whether this evaluation ends a shadow: its distributions are compared once, not by a sequential test."""
    shadow = spec.shadow
    over = plan.strategy == "shadow" and since_step(plan, now) >= shadow.duration
    enough = evidence.of(plan.challenger).shadows >= spec.guard.min_requests
    return over and enough and shadow.max_psi is not None


def _losses(
    spec: ModelSpec, settings: Settings, plan: TrafficPlan, stored: StoredRollout, now: datetime
) -> tuple[dict[str, Moments], StoredRollout]:
    """Return the losses, read at most once an hour."""
    whole = plan.strategy in _BY_LABELS
    since = datetime.fromisoformat(plan.since if whole else plan.step_since)
    if plan.strategy not in (*_BY_LABELS, "canary") or now - spec.label.delay <= since:
        return {}, stored
    at, known = known_losses(stored, None if whole else plan.revision)
    if at and now - datetime.fromisoformat(at) < _LABELS_EVERY:
        return known, stored
    try:
        losses = losses_by_version(spec, settings.lake, since, now, (plan.champion, plan.challenger))
    except (SourceError, SourceUnavailableError) as error:
        # The checks of errors and response times continue without labels.
        _LOG.warning("the labels of %s cannot be read: %s", plan.model, error)
        return known, stored
    return losses, with_losses(stored, losses, plan.revision, now)
