"""What serving processes report: who they are, which versions they answer with, and what they have counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class VersionCounts:
    """What one process counted for one version since it began to serve it under one plan revision.

    Parameters
    ----------
    requests
        Requests sent to the version, also those that failed.
    errors
        Those that ended in a 5xx or were answered by a fallback because the version failed or was too slow.
    buckets
        Requests at most as long as so many seconds, cumulative, by bound (``+Inf`` last), as Prometheus counts.
    shadows
        Answers that nobody heard.
    agreeing
        Of those, the ones with the same decision as the answer that was heard.
    difference
        Sum of the absolute differences of the scores.
    """

    requests: int = 0
    errors: int = 0
    buckets: dict[str, int] = field(default_factory=dict)
    shadows: int = 0
    shadow_errors: int = 0
    agreeing: int = 0
    difference: float = 0.0


@dataclass(frozen=True)
class ServingReport:
    """The report of one serving process about one model.

    Parameters
    ----------
    instance
        ``<host>-<pid>-<random>``: names the process for ever, also after its pid is used again.
    environment
        ``EVERMODEL_ENVIRONMENT``, such as ``prod``.
    since
        When it began to answer with ``version`` (ISO 8601, UTC).
    at
        When the report was written; an old one tells of a process that is gone.
    version
        The champion that it has in memory.
    shares
        Share of the requests by version, as the traffic plan in force has it.
    revision
        Revision of the traffic plan in force; 0 without one.
    rollout
        Run key of that plan's rollout; empty without one. Counts begin anew with each rollout and step.
    counts
        By version, since the plan's step began.
    """

    model: str
    instance: str
    environment: str
    host: str
    pid: int
    since: str
    at: str
    version: str | None
    shares: dict[str, float] = field(default_factory=dict)
    revision: int = 0
    rollout: str = ""
    counts: dict[str, VersionCounts] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ServingReport:
        """Read back what `to_json` returned."""
        counts = {version: VersionCounts(**found) for version, found in data["counts"].items()}
        return cls(**{**data, "counts": counts})
