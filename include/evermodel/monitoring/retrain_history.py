"""The retrain policy's history: earlier windows and earlier requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from evermodel.core.formats import loads, stamped
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.problems import Severity, worst_of
from evermodel.monitoring.summary_tags import day_tag
from evermodel.registry import tags as tag
from evermodel.registry.tracking import experiment_id, find_run, paged
from evermodel.spec import ModelSpec
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

_KEPT = 100
_LONGEST_TAG = 2000


@dataclass(frozen=True)
class Request:
    """A requested retrain.

    Parameters
    ----------
    run_key
        Idempotency key of the retrain.
    as_of
        End of the requesting window, as ISO time.
    """

    run_key: str
    as_of: str
    reason: str

    @property
    def moment(self) -> datetime:
        """Time of the request, in data time."""
        return parse_moment(self.as_of)


def severities_of(verdict: DriftVerdict) -> dict[str, Severity]:
    """Return the severity of each kind, by its name in the spec's section `respond`.

    Kinds that could not be evaluated are omitted, so that the window counts neither for nor against a retrain.
    """
    found: dict[str, Severity] = {}
    drift = verdict.problem("drift")
    if drift is None or drift.known:
        for column in verdict.columns:
            found[column.what] = worst_of([found.get(column.what, "none"), column.severity])
    for problem in verdict.problems:
        if problem.kind != "drift" and problem.known:
            found[problem.kind] = problem.severity
    return found


def tags_of(verdict: DriftVerdict) -> dict[str, str]:
    """Return the tags of a verdict's MLflow run, for later windows."""
    return {
        tag.SEVERITY: verdict.severity,
        tag.VERSION: verdict.version,
        tag.SEVERITIES: json.dumps(stamped(severities_of(verdict)), sort_keys=True),
        **day_tag(verdict),
    }


def former_windows(
    client: MlflowClient, spec: ModelSpec, version: str, as_of: datetime, most: int
) -> list[dict[str, Severity]]:
    """Return the severities of the last windows before a moment, the newest first.

    Windows of other versions are omitted, because a retrain resolves their problems. Windows
    after the moment are ignored, so that an old day evaluated again has the same result.
    """
    today = _window_key(spec, as_of)
    found: dict[str, dict[str, Severity]] = {}
    if most <= 0:
        return []
    runs = paged(
        client.search_runs,
        [experiment_id(client, f"{spec.name}-monitoring")],
        filter_string=f"tags.`{tag.KIND}` = 'drift' and tags.`{tag.VERSION}` = '{version}'",
        order_by=[f"tags.`{tag.RUN_KEY}` DESC"],
        max_results=100,
    )
    for run in runs:
        tags = run.data.tags
        key = tags.get(tag.RUN_KEY, "")
        if key < today and key not in found and tag.SEVERITIES in tags:
            found[key] = loads(tags[tag.SEVERITIES], f"tag {tag.SEVERITIES} of {key}")
            if len(found) == most:
                break
    return list(found.values())


def requests(tags: Mapping[str, str]) -> list[Request]:
    """Read the requests from the tags of a registered model, oldest first."""
    values = [
        loads(value, f"tag {key}") for key, value in tags.items() if key.startswith(tag.RETRAIN_REQUEST)
    ]
    return sorted((Request(**value) for value in values), key=lambda request: request.moment)


def keep_request(client: MlflowClient, model: str, request: Request) -> None:
    """Store a request in its own tag, and delete the oldest beyond a hundred.

    With one tag per day, concurrent tasks cannot overwrite each other's request, and a repetition writes the same tag.
    """
    client.set_registered_model_tag(model, _tag(request), json.dumps(stamped(vars(request)), sort_keys=True))
    for old in requests(client.get_registered_model(model).tags)[:-_KEPT]:
        client.delete_registered_model_tag(model, _tag(old))


def note_answer(client: MlflowClient, spec: ModelSpec, as_of: datetime, note: str) -> None:
    """Write the policy's recommendation to the MLflow run of the day."""
    run = find_run(client, f"{spec.name}-monitoring", _window_key(spec, as_of), kind="drift")
    if run is not None:
        client.set_tag(run.info.run_id, tag.RETRAIN_ANSWER, note[:_LONGEST_TAG])


def _window_key(spec: ModelSpec, as_of: datetime) -> str:
    return f"drift/{spec.name}/{as_of:%Y-%m-%d}"


def _tag(request: Request) -> str:
    return f"{tag.RETRAIN_REQUEST}{request.moment:%Y-%m-%d}"
