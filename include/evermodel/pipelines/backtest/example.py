"""The shipped example's data, for a new installation."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from evermodel.spec import ModelSpec
from evermodel.spec.source import FilesSource

_SHIPPED = "${EVERMODEL_DATA}/flights.parquet"


def with_example_data(spec: ModelSpec, folder: Path, say: Callable[[str], None]) -> ModelSpec:
    """Return the spec with a source that can be read.

    Only the shipped example without its environment variable is changed: its flights are prepared as the demo does.

    Parameters
    ----------
    folder
        Where the file goes; the one that is there is used again.
    say
        Told when there is something to prepare.
    """
    source = spec.source
    if not isinstance(source, FilesSource) or source.path != _SHIPPED or "EVERMODEL_DATA" in os.environ:
        return spec
    from evermodel.data.examples.flights import prepare_flights

    say("EVERMODEL_DATA is not set: preparing the example's data")
    path = prepare_flights(folder)
    return spec.model_copy(update={"source": source.model_copy(update={"path": str(path)})})
