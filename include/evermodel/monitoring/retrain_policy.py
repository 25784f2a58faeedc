"""The retrain policy: severity, repetition, data quality, cool-down and budget decide about a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.problems import RANK, Severity, worst_of
from evermodel.monitoring.retrain_history import (
    Request,
    former_windows,
    keep_request,
    requests,
    severities_of,
)
from evermodel.registry.tags import AS_OF
from evermodel.spec import ModelSpec
from evermodel.spec.parts import BY_ROW, format_span
from evermodel.spec.window import file_stamp, parse_moment, whole_day

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

BUDGET_SPAN = timedelta(days=30)
_LONGEST_REASON = 400


@dataclass(frozen=True)
class RetrainRecommendation:
    """The recommendation of the policy.

    Parameters
    ----------
    wanted
        True: request a retrain; False: a rule refuses it; None: no problem is severe enough.
    """

    wanted: bool | None
    note: str


@dataclass(frozen=True)
class Past:
    """The past of the policy.

    Parameters
    ----------
    windows
        Severities of the windows before this one, by kind, the newest first.
    requests
        Earlier requests, for any moment.
    champion_as_of
        Moment as of which the champion was trained.
    """

    windows: Sequence[Mapping[str, Severity]] = ()
    requests: Sequence[Request] = ()
    champion_as_of: str | None = None


def recommend_retrain(
    spec: ModelSpec, verdict: DriftVerdict, as_of: datetime, past: Past
) -> RetrainRecommendation:
    """Apply the sections `respond` and `retrain` of a spec to a verdict.

    The first rule that refuses decides: severity, data quality, number of windows, cool-down,
    budget.

    Parameters
    ----------
    past
        The history; requests of the same moment are this request, not a second one.
    """
    refusal = (
        _bad_enough(spec, verdict)
        or _good_data(verdict)
        or _often_enough(spec, verdict, past.windows)
        or _late_enough(spec, as_of, past)
        or _within_budget(spec, as_of, past.requests)
    )
    if refusal is not None:
        return refusal
    return RetrainRecommendation(True, _reason(spec, verdict, past.windows))


def current_recommendation(
    spec: ModelSpec, verdict: DriftVerdict, as_of: datetime, client: MlflowClient
) -> RetrainRecommendation:
    """Apply the policy to the history in MLflow."""
    if calling(spec, _proven(spec, verdict)) == "none":
        return recommend_retrain(spec, verdict, as_of, Past())  # most days need no history
    version = client.get_model_version(spec.name, verdict.version)
    past = Past(
        former_windows(client, spec, verdict.version, as_of, spec.retrain.windows.of - 1),
        requests(client.get_registered_model(spec.name).tags),
        version.tags.get(AS_OF),
    )
    return recommend_retrain(spec, verdict, as_of, past)


def record_request(spec: ModelSpec, as_of: datetime, reason: str, client: MlflowClient) -> dict[str, Any]:
    """Store the request and return it; its run key is the same for repetitions."""
    request = request_of(spec, as_of, reason)
    keep_request(client, spec.name, request)
    return asdict(request)


def request_of(spec: ModelSpec, as_of: datetime, reason: str) -> Request:
    """Return the request of a window; its run key is the same for repetitions."""
    end = f"{as_of:%Y-%m-%d}" if as_of == whole_day(as_of) else file_stamp(as_of)
    return Request(f"{_requested(spec)}{end}", as_of.isoformat(), reason)


def is_requested(spec: ModelSpec, run_key: str) -> bool:
    """Return whether a retrain was requested by the policy, and not by the schedule or a person."""
    return run_key.startswith(_requested(spec))


def _requested(spec: ModelSpec) -> str:
    return f"retrain/{spec.name}/drift-"


def calling(spec: ModelSpec, severities: Mapping[str, Severity]) -> Severity:
    """Return the worst severity among the kinds that can request a retrain (`respond: auto`)."""
    return worst_of(found for kind, found in severities.items() if getattr(spec.respond, kind) == "auto")


def _no(reason: str) -> RetrainRecommendation:
    return RetrainRecommendation(None, f"no retrain: {reason}")


def _refused(reason: str) -> RetrainRecommendation:
    return RetrainRecommendation(False, f"no retrain: {reason}")


def _proven(spec: ModelSpec, verdict: DriftVerdict) -> dict[str, Severity]:
    """Return the severity of each kind, without drift that a rule judged where days are the draws: it asks for no retrain."""
    if spec.cluster == BY_ROW:
        return severities_of(verdict)
    return severities_of(replace(verdict, columns=tuple(c for c in verdict.columns if not c.by_rule)))


def _asks(spec: ModelSpec, severities: Mapping[str, Severity]) -> bool:
    return RANK[calling(spec, severities)] >= RANK[spec.retrain.when]


def _bad_enough(spec: ModelSpec, verdict: DriftVerdict) -> RetrainRecommendation | None:
    when, found = spec.retrain.when, _proven(spec, verdict)
    if when == "never":
        return _no("the policy is never")
    if _asks(spec, found):
        return None
    if _asks(spec, severities_of(verdict)):
        return _no(
            "the drift is judged by a rule until quiet windows have shown what is normal for the model"
        )
    silent = [k for k, s in found.items() if RANK[s] >= RANK[when] and getattr(spec.respond, k) != "auto"]
    if silent and silent != ["quality"]:
        said = ", ".join(f"{kind} is {getattr(spec.respond, kind)}" for kind in silent)
        return _no(f"by the policy's responses ({said})")
    if "quality" in silent:
        return _no("data quality problems do not trigger one")
    return _no(f"severity {calling(spec, found)}, the policy requires {when}")


def _good_data(verdict: DriftVerdict) -> RetrainRecommendation | None:
    problem = verdict.problem("quality")
    if problem is None or problem.severity == "none":
        return None
    said = "; ".join(problem.details) or problem.reason
    return _refused(f"the data has quality problems ({said})")


def _often_enough(
    spec: ModelSpec, verdict: DriftVerdict, windows: Sequence[Mapping[str, Severity]]
) -> RetrainRecommendation | None:
    bad, seen = _bad_windows(spec, verdict, windows)
    if bad >= spec.retrain.windows.count:
        return None
    return _refused(_windows_said(spec, bad, seen))


def _late_enough(spec: ModelSpec, as_of: datetime, past: Past) -> RetrainRecommendation | None:
    moments = [("request", r.moment) for r in past.requests if r.moment != as_of]
    if past.champion_as_of is not None:
        moments.append(("training of the champion", parse_moment(past.champion_as_of)))
    if not moments:
        return None
    what, last = max(moments, key=lambda pair: pair[1])
    since, cooldown = as_of - last, spec.retrain.cooldown
    if since < timedelta(0):
        return _refused(f"the last {what} is of {last:%Y-%m-%d}, after this window")
    if since < cooldown:
        return _refused(f"the last {what} was {_days(since)} ago, the cool-down is {format_span(cooldown)}")
    return None


def _within_budget(spec: ModelSpec, as_of: datetime, made: Sequence[Request]) -> RetrainRecommendation | None:
    lately = [r for r in made if as_of - BUDGET_SPAN < r.moment < as_of]
    if len(lately) < spec.retrain.budget:
        return None
    return _refused(
        f"{len(lately)} were requested within {BUDGET_SPAN.days} days, the budget is {spec.retrain.budget}"
    )


def _bad_windows(
    spec: ModelSpec, verdict: DriftVerdict, windows: Sequence[Mapping[str, Severity]]
) -> tuple[int, int]:
    """Return the number of windows that are severe enough, and of all windows, this one included."""
    seen = [_proven(spec, verdict), *windows][: spec.retrain.windows.of]
    return sum(_asks(spec, window) for window in seen), len(seen)


def _windows_said(spec: ModelSpec, bad: int, seen: int) -> str:
    wanted = spec.retrain.windows
    last = "the last window" if seen == 1 else f"the last {seen} windows"
    of = "" if seen == wanted.of else f" of {wanted.of}"
    return (
        f"{bad} of {last} {'was' if bad == 1 else 'were'} that severe, the policy requires {wanted.count}{of}"
    )


def _reason(spec: ModelSpec, verdict: DriftVerdict, windows: Sequence[Mapping[str, Severity]]) -> str:
    """Return start and reason, as the retrain shows them."""
    found = _proven(spec, verdict)
    kinds = [kind for kind in found if _asks(spec, {kind: found[kind]})]
    reasons = [
        f"{problem.kind} since {verdict.start[:10]}: {problem.reason}"
        for problem in verdict.problems
        if problem.kind in kinds or (problem.kind == "drift" and set(kinds) - {"performance"})
    ]
    said = "; ".join(reasons) or f"drift since {verdict.start[:10]}: {verdict.reason}"
    if len(said) > _LONGEST_REASON:  # of hundreds of columns, in tags and messages
        said = f"{said[:_LONGEST_REASON]}…"
    if spec.retrain.windows.of == 1:
        return said
    return f"{said} ({_windows_said(spec, *_bad_windows(spec, verdict, windows))})"


def _days(span: timedelta) -> str:
    days = span.total_seconds() / 86_400
    return f"{days:.0f} day{'' if round(days) == 1 else 's'}" if days >= 1 else format_span(span)
