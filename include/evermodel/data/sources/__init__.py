"""Sources: read one window of a model's rows, wherever they are."""

from __future__ import annotations

from evermodel.data.sources.reading import (
    WindowRows,
    arrival,
    read_by_key,
    read_events,
    read_labels,
    read_window,
    stream_window,
)
from evermodel.data.sources.relation import Arrival

__all__ = [
    "Arrival",
    "WindowRows",
    "arrival",
    "feast",
    "files",
    "ibis",
    "partitions",
    "read_by_key",
    "read_events",
    "read_labels",
    "read_window",
    "readiness",
    "relation",
    "stream_window",
]
