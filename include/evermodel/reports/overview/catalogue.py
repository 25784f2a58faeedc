"""What is known of a model's features beside their values: meaning, owner, origin, and the other models that use them."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from evermodel.core.errors import EvermodelError
from evermodel.spec import ModelSpec, load_spec
from evermodel.spec.features import FeatureView

_LOG = logging.getLogger(__name__)


class SpecFolder:
    """The specs of a folder; each is read again when its file changes.

    A spec that cannot be read is left out, and the log says why.
    """

    def __init__(self) -> None:
        self._read: dict[Path, tuple[int, ModelSpec | None]] = {}

    def specs(self, paths: list[Path]) -> dict[str, ModelSpec]:
        """Return the specs of files, by the models' names."""
        found = [self._spec(path) for path in paths]
        return {spec.name: spec for spec in found if spec is not None}

    def _spec(self, path: Path) -> ModelSpec | None:
        try:
            changed = path.stat().st_mtime_ns
            if path not in self._read or self._read[path][0] != changed:
                self._read[path] = (changed, _loaded(path))
        except OSError:
            return None
        return self._read[path][1]


def _loaded(path: Path) -> ModelSpec | None:
    try:
        return load_spec(path)
    except EvermodelError as error:
        _LOG.warning("the Models page shows nothing of the features of %s: %s", path.stem, error.problem)
        return None


def catalogue(specs: Mapping[str, ModelSpec], model: str) -> list[dict[str, Any]]:
    """Return a model's features with their notes, in the spec's order.

    Parameters
    ----------
    specs
        By name; those that use a feature from the same place are listed with it.

    Returns
    -------
    list
        Of each feature ``name``, ``description``, ``owner``, ``source``, and ``models``, the others that use it; empty
        for a model without a spec.
    """
    if model not in specs:
        return []
    spec = specs[model]
    others = {name: set(_origins(other).values()) for name, other in specs.items() if name != model}
    origins, told = _origins(spec), _sources(spec)
    return [
        {
            "name": name,
            "description": spec.note_on(name).description,
            "owner": spec.note_on(name).owner,
            "source": told.get(name, spec.source.told),
            "models": sorted(other for other, used in others.items() if origins[name] in used),
        }
        for name in spec.features.names
    ]


def _sources(spec: ModelSpec) -> dict[str, str]:
    """Return where the features come from that are joined to the rows."""
    found: dict[str, str] = {}
    for view in spec.feature_views:
        by = f", by {', '.join(view.key)}"
        found |= {one.name: one.told + by for one in view.aggregates}
        found |= dict.fromkeys(view.given, f"{view.table}{by}")
    return found


def _origins(spec: ModelSpec) -> dict[str, Hashable]:
    """Return what makes features of two models the same: what is read, and what is computed of it."""
    rows = spec.source.upstream or spec.source.told
    found: dict[str, Hashable] = {name: (rows, name) for name in spec.features.names}
    for view in spec.feature_views:
        found |= _joined_origins(spec, view)
    return found


def _joined_origins(spec: ModelSpec, view: FeatureView) -> dict[str, Hashable]:
    place: Hashable = view.table
    if view.aggregates:
        table = spec.source.tables[view.table]
        place = table.path or f"{spec.source.told} {table.table or table.query}"
    elif spec.source.feast is not None:
        place = spec.source.feast.repo
    found: dict[str, Hashable] = {one.name: (place, view.key, one.told) for one in view.aggregates}
    return found | {name: (place, view.key, name) for name in view.given}
