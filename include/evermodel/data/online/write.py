"""Writes the aggregates, and Feast's features, of a period into the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from evermodel.core.errors import PermanentError
from evermodel.core.formats import JsonData
from evermodel.core.settings import Settings
from evermodel.data.online.part import key_text, part_of
from evermodel.data.online.store import open_store
from evermodel.data.sources import read_by_key
from evermodel.data.sources.feast import FeastFeatures

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel.spec.features import FeatureView


@dataclass(frozen=True)
class WrittenView(JsonData):
    """What was written of one view.

    Parameters
    ----------
    period
        Beginning of the period, ISO 8601.
    keys
        How many keys have values; the others have those of a key without events.
    """

    view: str
    features: list[str]
    period: str
    keys: int


def write_online(spec: ModelSpec, moment: datetime, settings: Settings) -> list[WrittenView]:
    """Write every view of the newest period that has begun at a moment; a repetition replaces it.

    Raises
    ------
    PermanentError
        The spec has no `features.online`.
    SourceError
        A table of events cannot be read, or Feast fails.
    FeatureStoreError
        The store cannot be reached; what was written before is still there.
    """
    online = spec.features.online
    if online is None:
        raise PermanentError(
            f"model {spec.name}: its features are not looked up", "set `features.online` in its spec"
        )
    period = online.period_at(moment + online.delay)
    store = open_store(settings.feature_store_url)
    written = [
        WrittenView(
            view.name,
            view.features,
            period.isoformat(),
            store.write(part_of(spec, view, period), _values(spec, view, period)),
        )
        for view in spec.feature_views
    ]
    if spec.source.feast is not None and spec.source.feast.materialize:
        FeastFeatures(spec).materialize(period)
    return written


def _values(spec: ModelSpec, view: FeatureView, period: datetime) -> Iterator[tuple[str, str]]:
    for batch in read_by_key(spec, view, period):
        columns = [batch.column(name).to_pylist() for name in (*view.key, *view.features)]
        for row in zip(*columns, strict=True):
            key = key_text(row[: len(view.key)])
            if key is not None:
                yield key, json.dumps(row[len(view.key) :])
