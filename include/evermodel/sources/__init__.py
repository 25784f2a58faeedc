"""Sources: read one window of a model's rows, wherever they are."""

from __future__ import annotations

from evermodel.sources.reading import Rows, arrival, read_labels, read_window, stream_window
from evermodel.sources.relation import Arrival

__all__ = ["Arrival", "Rows", "arrival", "read_labels", "read_window", "stream_window"]
