"""The section `source.feast`: features that a feature service of Feast gives to the rows of a source."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, model_validator

from evermodel.spec.features import Columns
from evermodel.spec.parts import Column, SpecSection


class FeastView(SpecSection):
    """Features of the service that Feast finds by one key."""

    key: Columns = Field(min_length=1, description="Join keys of Feast's feature views, which the rows have.")
    features: tuple[Column, ...] = Field(
        min_length=1, description="As Feast names them; also listed under `numeric` or `categorical`."
    )


class FeastSpec(SpecSection):
    """What Feast joins to the rows as of their time; it runs in an environment of its own (EVERMODEL_FEAST_PYTHON)."""

    repo: str = Field(min_length=1, description="Folder with Feast's feature_store.yaml.")
    service: str = Field(min_length=1, description="Feature service that has the features.")
    views: tuple[FeastView, ...] = Field(min_length=1)
    as_known: bool = Field(
        True,
        description="Leave out what was created after a row's time, where Feast's views have a created timestamp; false for offline stores that cannot.",
    )
    materialize: bool = Field(
        False,
        description="Also materialize the service into Feast's own online store when features are written.",
    )

    @model_validator(mode="after")
    def _once(self) -> FeastSpec:
        keys = [view.key for view in self.views]
        if twice := {", ".join(key) for key in keys if keys.count(key) > 1}:
            raise ValueError(f"views: the key {min(twice)} is listed twice")
        return self

    @property
    def features(self) -> list[str]:
        """All features that it gives."""
        return [name for view in self.views for name in view.features]

    @property
    def keys(self) -> list[str]:
        """All columns of the rows by which it finds them."""
        return list(dict.fromkeys(name for view in self.views for name in view.key))


def feast_problems(feast: FeastSpec, names: list[str], made: list[str]) -> Iterator[str]:
    """Say what is wrong between Feast's features and the lists of features.

    Parameters
    ----------
    names
        The model's features.
    made
        Those that are aggregates.
    """
    given = feast.features
    for name in dict.fromkeys(given):
        if given.count(name) > 1 or name in made:
            yield f"source.feast.views: {name} is defined twice"
        if name not in names:
            yield f"source.feast.views: {name} is not listed under features.numeric or features.categorical"
    yield from (
        f"source.feast.views: the key {n} is a feature of Feast itself" for n in feast.keys if n in given
    )
