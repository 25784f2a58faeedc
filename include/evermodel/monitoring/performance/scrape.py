"""Counters of the serving app between two scrapes of its Prometheus page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from evermodel.core.atomic import write_text
from evermodel.core.formats import loads, stamped
from evermodel.core.logins import ask
from evermodel.core.storage import StoragePath, files_in
from evermodel.spec import ModelSpec
from evermodel.spec.window import file_stamp

_REQUESTS, _SECONDS = "evermodel_requests_total", "evermodel_request_seconds"
_BUCKET, _MADE = f"{_SECONDS}_bucket", f"{_SECONDS}_created"
_FALLBACKS, _DROPPED = "evermodel_fallback_answers_total", "evermodel_predictions_dropped_total"
_TIMEOUT = 5.0
FRESH = timedelta(days=2)  # an older day cannot be scraped: the counters are current


@dataclass(frozen=True)
class Counters:
    """Totals of one address since its process started.

    Parameters
    ----------
    requests
        By status; ``no model`` are those that no version answered.
    buckets
        Requests at most as long as so many seconds, by the bound as Prometheus writes it.
    dropped
        Predictions that did not reach the log.
    born
        When the process began to count; another value means a restart.
    """

    requests: dict[str, float] = field(default_factory=dict)
    buckets: dict[str, float] = field(default_factory=dict)
    fallbacks: float = 0.0
    no_version: float = 0.0
    born: float = 0.0
    dropped: float = 0.0

    def since(self, before: Counters | None) -> Counters:
        """Return the counts since an earlier scrape; after a restart all counts."""
        if before is None or self._restarted(before):
            return self
        return Counters(
            {key: value - before.requests.get(key, 0) for key, value in self.requests.items()},
            {key: value - before.buckets.get(key, 0) for key, value in self.buckets.items()},
            self.fallbacks - before.fallbacks,
            self.no_version - before.no_version,
            self.born,
            self.dropped - before.dropped,
        )

    def _restarted(self, before: Counters) -> bool:
        if self.born != before.born:
            return True
        pairs = [(self.requests, before.requests), (self.buckets, before.buckets)]
        return any(now.get(key, 0) < value for now, old in pairs for key, value in old.items())

    def plus(self, other: Counters) -> Counters:
        """Return the sum of two addresses."""
        return Counters(
            _sum(self.requests, other.requests),
            _sum(self.buckets, other.buckets),
            self.fallbacks + other.fallbacks,
            self.no_version + other.no_version,
            dropped=self.dropped + other.dropped,
        )


@dataclass(frozen=True)
class ScrapeInterval:
    """Counts between two scrapes.

    Parameters
    ----------
    seconds
        Between the scrapes; 0 for the first one, whose counters start with each process.
    silent
        Addresses that did not answer, each with the reason.
    """

    counted: Counters
    seconds: float
    addresses: tuple[str, ...]
    silent: tuple[tuple[str, str], ...]


def interval_of(
    spec: ModelSpec,
    lake: StoragePath,
    urls: Sequence[str],
    as_of: datetime,
    now: datetime | None = None,
    *,
    token: str = "",
) -> ScrapeInterval | None:
    """Scrape the serving addresses and return the counts since the last scrape; None for an old day that was not scraped.

    A day is scraped once: a repetition reads the day's file in the lake.

    Parameters
    ----------
    urls
        Addresses of the serving app; one started with several workers counts as one.
    """
    moment = now or datetime.now(UTC)
    folder = lake / "serving" / spec.name
    file = folder / f"as_of={file_stamp(as_of)}.json"
    if not file.exists():
        if not timedelta(0) <= moment - as_of < FRESH:
            return None
        page = {url: _scrape(spec.name, url, token) for url in urls}
        kept = {
            "at": moment.isoformat(),
            "counters": {url: asdict(found) for url, found in page.items() if isinstance(found, Counters)},
            "silent": {url: found for url, found in page.items() if isinstance(found, str)},
        }
        write_text(file, json.dumps(stamped(kept), sort_keys=True))
    return _difference(loads(file.read_text(encoding="utf-8"), file), _scrapes_before(folder, file))


def _difference(now: dict[str, Any], earlier: list[dict[str, Any]]) -> ScrapeInterval:
    """Compare one scrape with earlier ones: an address without an answer then has its last counters further back."""
    total = Counters()
    for url, values in now["counters"].items():
        before = next((one["counters"][url] for one in earlier if url in one["counters"]), None)
        total = total.plus(Counters(**values).since(None if before is None else Counters(**before)))
    seconds = 0.0
    if earlier:
        seconds = (
            datetime.fromisoformat(now["at"]) - datetime.fromisoformat(earlier[0]["at"])
        ).total_seconds()
    addresses = tuple(sorted([*now["counters"], *now["silent"]]))
    return ScrapeInterval(total, seconds, addresses, tuple(sorted(now["silent"].items())))


def _scrapes_before(folder: StoragePath, file: StoragePath, most: int = 14) -> list[dict[str, Any]]:
    earlier = [path for path in files_in(folder, "as_of=*.json") if path.name < file.name]
    return [loads(path.read_text(encoding="utf-8"), path) for path in reversed(earlier[-most:])]


def _scrape(model: str, url: str, token: str) -> Counters | str:
    """Read one address; a reason when it does not answer as it should."""
    import httpx

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = ask(url, "/metrics", _TIMEOUT, headers=headers)
        if answer.status_code == 401:
            return "it requires a token: set EVERMODEL_SERVING_TOKEN"
        if answer.is_error:
            return f"it answers with status {answer.status_code}"
        return read_counters(model, answer.text)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return str(error) or type(error).__name__
    except ValueError as error:
        return f"its page cannot be read: {error}"


def read_counters(model: str, text: str) -> Counters:
    """Read a model's counters from Prometheus' text format."""
    from prometheus_client.parser import text_string_to_metric_families

    requests: dict[str, float] = {}
    buckets: dict[str, float] = {}
    single = {_FALLBACKS: 0.0, _DROPPED: 0.0, _MADE: 0.0, "none": 0.0}
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    for sample in samples:
        if sample.labels.get("model") != model:
            continue
        if sample.name == _REQUESTS:
            status = sample.labels["status"]
            requests[status] = requests.get(status, 0.0) + sample.value
            if sample.labels.get("version") == "none":
                single["none"] += sample.value
        elif sample.name == _BUCKET:
            buckets[sample.labels["le"]] = sample.value
        elif sample.name in single:
            single[sample.name] += sample.value
    return Counters(requests, buckets, single[_FALLBACKS], single["none"], single[_MADE], single[_DROPPED])


def _sum(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {key: one.get(key, 0.0) + other.get(key, 0.0) for key in sorted({*one, *other})}
