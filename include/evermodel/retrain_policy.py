"""When drift asks for a retrain: bad enough, good data, and not too soon after the last one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from evermodel import registry
from evermodel.drift.verdict import DriftVerdict
from evermodel.severity import RANK
from evermodel.spec import ModelSpec
from evermodel.window import parse_moment

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TAG = "evermodel.retrain_request"


@dataclass(frozen=True)
class RetrainWish:
    """The answer of the policy.

    Parameters
    ----------
    wanted
        True to ask; False if something speaks against it; None if the severity does not call for it.
    note
        Why, in one sentence.
    """

    wanted: bool | None
    note: str


def retrain_wish(
    spec: ModelSpec,
    verdict: DriftVerdict,
    as_of: datetime,
    last_request: str | None,
    champion_as_of: str | None,
) -> RetrainWish:
    """Apply the spec's policy.

    Parameters
    ----------
    last_request
        Moment of the last request; the same moment again is the same request, not a second one.
    champion_as_of
        Moment as of which the champion was trained.
    """
    policy = spec.retrain
    if policy.when == "never" or RANK[verdict.severity] < RANK[policy.when]:
        return RetrainWish(None, f"no retrain: severity {verdict.severity}, the policy asks on {policy.when}")
    if verdict.quality:
        return RetrainWish(False, f"no retrain: the data itself has problems ({'; '.join(verdict.quality)})")
    for what, moment in (("request", last_request), ("training of the champion", champion_as_of)):
        if moment is None or (what == "request" and parse_moment(moment) == as_of):
            continue
        since = as_of - parse_moment(moment)
        if since < policy.cooldown:
            return RetrainWish(False, f"no retrain: the last {what} was {since.days} days ago (cool-down)")
    return RetrainWish(True, f"drift since {verdict.start[:10]}: {verdict.reason}")


def current_wish(
    spec: ModelSpec, verdict: DriftVerdict, as_of: datetime, client: MlflowClient
) -> RetrainWish:
    """Apply the policy to what the registry knows."""
    last = registry.model_tag(client, spec.name, _TAG)
    version = client.get_model_version(spec.name, verdict.version)
    return retrain_wish(spec, verdict, as_of, last and last["as_of"], version.tags.get("evermodel.as_of"))


def record_request(spec: ModelSpec, as_of: datetime, reason: str, client: MlflowClient) -> dict[str, Any]:
    """Store the request and return it; its run key is the same however often it is made."""
    request = {
        "run_key": f"retrain/{spec.name}/drift-{as_of:%Y-%m-%d}",
        "as_of": as_of.isoformat(),
        "reason": reason,
    }
    registry.set_model_tag(client, spec.name, _TAG, request)
    return request
