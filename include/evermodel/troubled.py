"""Days on which something other than drift was wrong: what they looked like is no measure of what is normal."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING

from evermodel.retrain_history import SEVERITIES
from evermodel.spec import ModelSpec
from evermodel.tracking import KIND, RUN_KEY, experiment_id

if TYPE_CHECKING:
    from mlflow import MlflowClient

_MOST = 1000


def troubled_days(client: MlflowClient, spec: ModelSpec) -> frozenset[date]:
    """Return the ends of the judged windows that had bad data, or whose performance had fallen critically."""
    runs = client.search_runs(
        [experiment_id(client, f"{spec.name}-monitoring")],
        filter_string=f"tags.`{KIND}` = 'drift'",
        max_results=_MOST,
        order_by=["attributes.start_time DESC"],
    )
    found = set()
    for run in runs:
        severities = json.loads(run.data.tags.get(SEVERITIES, "{}"))
        if severities.get("quality", "none") != "none" or severities.get("performance") == "critical":
            found.add(date.fromisoformat(run.data.tags[RUN_KEY].rsplit("/", 1)[1]))
    return frozenset(found)
