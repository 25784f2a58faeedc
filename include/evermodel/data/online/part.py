"""What is written and read at once: a view's values of one period, by key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from evermodel.core.formats import json_digest
from evermodel.spec import ModelSpec
from evermodel.spec.features import FeatureView

_EXACT = 2**53


@dataclass(frozen=True)
class OnlinePart:
    """A view's values of one period.

    Parameters
    ----------
    model
        Name of the model.
    view
        See `FeatureView.name`.
    definition
        Digest of what determines the values: after a change of the spec, values of before are not found.
    period
        Its beginning.
    kept
        How long after it is written the part can be read.
    """

    model: str
    view: str
    definition: str
    period: datetime
    kept: timedelta

    @property
    def name(self) -> str:
        """What tells it from all other parts, for people and for Redis."""
        period = f"{self.period.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
        return f"evermodel:{self.model}:{self.view}:{self.definition}:{period}"


def part_of(spec: ModelSpec, view: FeatureView, period: datetime) -> OnlinePart:
    """Return the part of a period, which is kept until no request can need it any more."""
    online = spec.features.online
    assert online is not None
    content: dict[str, Any] = {
        "format": 1,
        "key": view.key,
        "online": online.model_dump(mode="json", include={"every", "delay"}),
    }
    if view.given:
        assert spec.source.feast is not None
        content["feast"] = spec.source.feast.model_dump(mode="json", include={"repo", "service", "as_known"})
        content["features"] = view.given
    else:
        content["table"] = spec.source.tables[view.table].model_dump(mode="json")
        content["aggregates"] = [aggregate.model_dump(mode="json") for aggregate in view.aggregates]
    kept = online.oldest + online.every
    return OnlinePart(spec.name, view.name, json_digest(content)[:16], period, kept)


def values_of(view: FeatureView, text: str | None) -> list[float | str | None]:
    """Return a view's values from the text of a key; without one they are those of no events."""
    if text is None:
        return view.without_events
    found: list[float | str | None] = json.loads(text)
    return found


def key_text(values: Sequence[Any]) -> str | None:
    """Return a key as text, the same for a number of any type; None if a value is missing.

    >>> key_text(["AA", 17.0]), key_text([17]), key_text([None]), key_text([float("nan")])
    ('["AA", "17"]', '["17"]', None, None)
    """
    texts = []
    for value in values:
        if value is None or value != value:
            return None
        whole = isinstance(value, float) and value.is_integer() and abs(value) < _EXACT
        texts.append(str(int(value)) if whole else str(value))
    return json.dumps(texts, ensure_ascii=False)
