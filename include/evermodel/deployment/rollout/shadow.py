"""Shadow: the new version answers too; its answers are compared with the champion's and not returned."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime

from evermodel.deployment.rollout.canary_checks import figures_of
from evermodel.deployment.rollout.evidence import Distribution, Evidence, Verdict
from evermodel.registry.serving_heartbeats import VersionCounts
from evermodel.registry.traffic_plan import TrafficPlan, since_step
from evermodel.spec.rollout import RolloutSpec
from evermodel.stats.histogram import quantile
from evermodel.stats.sequential import above

_PATIENCE = 2  # durations without enough requests, after which the shadow ends


def begin(spec: RolloutSpec, plan: TrafficPlan) -> TrafficPlan:
    """Make the challenger the shadow."""
    return replace(plan, shadow=spec.shadow.share)


def decide(spec: RolloutSpec, plan: TrafficPlan, evidence: Evidence, now: datetime) -> Verdict:
    """Go back as soon as a limit is proved to be exceeded; promote after the duration if all are kept."""
    counts = evidence.of(plan.challenger)
    figures = {**figures_of(plan, evidence), **_figures(counts, evidence.distribution)}
    broken = _broken(spec, counts)
    if broken:
        return Verdict("roll_back", broken, figures)
    lasted, shadow = since_step(plan, now), spec.shadow
    if lasted < shadow.duration:
        return Verdict(
            "stay", f"{counts.shadows:,} answers compared, {_agreement(counts):.2%} agree", figures
        )
    compared = _compared(spec, counts, evidence.distribution)
    if compared < spec.guard.min_requests:
        text = f"{compared:,} of {spec.guard.min_requests:,} answers compared"
        return Verdict("roll_back" if lasted >= _PATIENCE * shadow.duration else "stay", text, figures)
    missed = _missed(spec, counts, evidence.of(plan.champion)) or _shifted(spec, evidence.distribution)
    if missed:
        return Verdict("roll_back", missed, figures)
    text = f"{counts.shadows:,} answers compared, {_agreement(counts):.2%} agree"
    return Verdict("promote", text, figures)


def _broken(spec: RolloutSpec, counts: VersionCounts) -> str:
    """Return the limit that is proved to be exceeded, by a sequential test."""
    proof = math.log(2 / (1 - spec.guard.confidence))
    limit, disagreeing = spec.guard.max_error_rate, 1 - spec.shadow.min_agreement
    if limit and limit < 1 and above(counts.shadow_errors, counts.shadows, limit) >= proof:
        return f"{counts.shadow_errors:,} of {counts.shadows:,} answers are errors, limit {limit:.2%}"
    others = counts.shadows - counts.agreeing
    if 0 < disagreeing < 1 and above(others, counts.shadows, disagreeing) >= proof:
        return f"{_agreement(counts):.2%} of {counts.shadows:,} answers agree, limit {spec.shadow.min_agreement:.2%}"
    return ""


def _missed(spec: RolloutSpec, counts: VersionCounts, champion: VersionCounts) -> str:
    """Return the limit that is exceeded at the end, by the figures themselves."""
    limit, most = spec.guard.max_error_rate, spec.shadow.max_mean_difference
    mean = _mean_difference(counts)
    if _agreement(counts) < spec.shadow.min_agreement:
        return f"{_agreement(counts):.2%} of the answers agree, limit {spec.shadow.min_agreement:.2%}"
    if limit is not None and counts.shadow_errors > limit * counts.shadows:
        return f"{counts.shadow_errors:,} of {counts.shadows:,} answers are errors, limit {limit:.2%}"
    if most is not None and mean > most:
        return f"the scores differ by {mean:.4g} on average, limit {most:g}"
    ratio, usual = spec.guard.max_latency_ratio, quantile(champion.buckets, 0.99)
    slowest = quantile(counts.buckets, 0.99)
    if ratio is not None and math.isfinite(usual) and slowest > ratio * usual:
        return f"p99 {1000 * slowest:.3g} ms, the champion {1000 * usual:.3g} ms (limit {ratio:g} times)"
    return ""


def _compared(spec: RolloutSpec, counts: VersionCounts, distribution: Distribution | None) -> int:
    """Return how many answers were compared; for a comparison of distributions, how many were logged."""
    if spec.shadow.max_psi is None:
        return counts.shadows
    return min(counts.shadows, distribution.rows if distribution else 0)


def _shifted(spec: RolloutSpec, distribution: Distribution | None) -> str:
    """Return that the answers have another distribution than the champion's."""
    most = spec.shadow.max_psi
    if most is None or distribution is None or distribution.psi <= most:
        return ""
    return f"the distribution of the answers differs from the champion's: PSI {distribution.psi:.3g}, limit {most:g}"


def _agreement(counts: VersionCounts) -> float:
    return counts.agreeing / counts.shadows if counts.shadows else 0.0


def _mean_difference(counts: VersionCounts) -> float:
    return counts.difference / max(counts.shadows - counts.shadow_errors, 1)


def _figures(counts: VersionCounts, distribution: Distribution | None) -> dict[str, float]:
    figures = {"shadows": float(counts.shadows), "shadow_errors": float(counts.shadow_errors)}
    if counts.shadows:
        figures |= {
            "agreement": _agreement(counts),
            "mean_difference": _mean_difference(counts),
        }
    if distribution is not None:
        figures |= {"psi": distribution.psi, "psi_rows": float(distribution.rows)}
    return figures
