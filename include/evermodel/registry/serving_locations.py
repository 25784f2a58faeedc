"""Tags of a registered model with the versions served per host, for readers of the registry."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from evermodel.core.formats import loads, stamped
from evermodel.registry.serving_heartbeats import ServingReport
from evermodel.registry.tags import SERVING

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

REFRESH = timedelta(hours=1)
STALE = 3 * REFRESH


@dataclass(frozen=True)
class ServingLocations:
    """The versions that the processes of one host answer with.

    Parameters
    ----------
    version
        The champion of most processes.
    since
        Time at which the last process began to answer with it.
    at
        Time of writing; rewritten on every change, and once an hour.
    """

    environment: str
    host: str
    version: str | None
    shares: Mapping[str, float]
    processes: int
    since: str
    at: str

    @property
    def tag(self) -> str:
        """Name of the tag."""
        return SERVING + re.sub(r"[^\w.-]", "_", f"{self.environment}.{self.host}")[:200]

    def same_as(self, other: ServingLocations | None) -> bool:
        """Return whether another one is equal apart from its time."""
        return other is not None and replace(self, at="") == replace(other, at="")

    def dumps(self) -> str:
        """Return the value of the tag."""
        return json.dumps(stamped(asdict(self)), sort_keys=True)


def serving_locations_of(reports: Sequence[ServingReport], now: datetime) -> ServingLocations | None:
    """Summarize the live reports of one host and environment; None without any."""
    if not reports:
        return None
    versions = [report.version for report in reports]
    most = max(reports, key=lambda report: (versions.count(report.version), report.since))
    return ServingLocations(
        environment=most.environment,
        host=most.host,
        version=most.version,
        shares={version: round(share, 4) for version, share in sorted(most.shares.items())},
        processes=len(reports),
        since=max(report.since for report in reports if report.version == most.version),
        at=now.isoformat(timespec="seconds"),
    )


def read_serving_locations(tags: Mapping[str, str]) -> list[ServingLocations]:
    """Return a registered model's tags by environment and host; unreadable ones are omitted."""
    found = [_read(value) for key, value in tags.items() if key.startswith(SERVING)]
    return sorted((one for one in found if one is not None), key=lambda one: (one.environment, one.host))


def write_serving_locations(client: MlflowClient, model: str, now: datetime, ours: ServingLocations) -> None:
    """Write the tag of a host, and remove those of hosts without a report for three hours."""
    client.set_registered_model_tag(model, ours.tag, ours.dumps())
    for one in read_serving_locations(client.get_registered_model(model).tags):
        if now - datetime.fromisoformat(one.at) > STALE:
            client.delete_registered_model_tag(model, one.tag)


def _read(text: str) -> ServingLocations | None:
    try:
        one = ServingLocations(**loads(text, "tag of a serving host"))
        datetime.fromisoformat(one.at)
    except (ValueError, TypeError):
        return None
    return one
