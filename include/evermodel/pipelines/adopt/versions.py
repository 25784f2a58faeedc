"""The versions of a model that is adopted; a registry is only read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.errors import NoChampionError, SpecError
from evermodel.modeling.foreign.model import ForeignModel, OpeningRules
from evermodel.registry.tracking import download, paged

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion

_SCHEME = "models:/"


@dataclass(frozen=True)
class ForeignVersion:
    """A version of a foreign model.

    Parameters
    ----------
    created
        When it was registered; None of a file or an endpoint, which have one version.
    shipped
        Whether it answered; newer versions than the one that serves did not.
    """

    version: str
    model: ForeignModel
    created: datetime | None = None
    shipped: bool = True


@dataclass(frozen=True)
class ForeignVersions:
    """All versions that are compared, in the order of time, and the one that serves now."""

    name: str
    versions: tuple[ForeignVersion, ...]
    serving: ForeignVersion


def in_registry(reference: str) -> bool:
    """Tell whether a model is named as a version in MLflow's registry."""
    return reference.startswith(_SCHEME)


def versions_in_registry(
    client: MlflowClient, reference: str, folder: Path, rules: OpeningRules, *, most: int
) -> ForeignVersions:
    """Download the newest versions of a registered model.

    Parameters
    ----------
    reference
        ``models:/name``, ``models:/name@alias`` or ``models:/name/version``; without alias and version it is the alias
        ``champion``, or else the newest version.
    folder
        Where their files go.
    most
        How many versions are compared.

    Raises
    ------
    NoChampionError
        There is no such version.
    SpecError
        The reference names no registered model.
    """
    name, alias, wanted = _parts(reference)
    every = sorted(
        paged(client.search_model_versions, f"name = '{name}'"),
        key=lambda one: (one.creation_timestamp, int(one.version)),
    )
    serving = _serving(client, every, name, alias, wanted)
    kept = [one for one in every if one.creation_timestamp >= serving.creation_timestamp or one is serving]
    kept = every[-max(most, len(kept)) :]
    place = kept.index(serving)
    found = tuple(_version(client, one, folder, rules, shipped=at <= place) for at, one in enumerate(kept))
    return ForeignVersions(name, found, found[place])


def single_version(reference: str, rules: OpeningRules) -> ForeignVersions:
    """Return the one version of a file, a folder or an endpoint."""
    only = ForeignVersion("1", ForeignModel(reference, rules))
    return ForeignVersions(Path(reference.rstrip("/")).name.split(".")[0], (only,), only)


def _parts(reference: str) -> tuple[str, str, str]:
    path = reference.removeprefix(_SCHEME)
    name, _, version = path.partition("/")
    name, _, alias = name.partition("@")
    if not name or "'" in name or (version and not version.isdigit()) or name.startswith("m-"):
        raise SpecError(
            f"{reference} names no registered model", "write models:/churn@champion or models:/churn/3"
        )
    return name, alias, version


def _serving(
    client: MlflowClient, every: Sequence[ModelVersion], name: str, alias: str, wanted: str
) -> ModelVersion:
    if not every:
        raise NoChampionError(f"the registry has no model {name}", "check the name and MLFLOW_TRACKING_URI")
    aliases = {} if wanted else client.get_registered_model(name).aliases
    if alias and alias not in aliases:
        raise NoChampionError(
            f"model {name} has no alias {alias}", f"it has: {', '.join(sorted(aliases)) or 'none'}"
        )
    number = str(wanted or aliases.get(alias or "champion", every[-1].version))
    found = next((one for one in every if str(one.version) == number), None)
    if found is None:
        raise NoChampionError(
            f"model {name} has no version {number}", f"it has versions up to {every[-1].version}"
        )
    return found


def _version(
    client: MlflowClient, one: ModelVersion, folder: Path, rules: OpeningRules, *, shipped: bool
) -> ForeignVersion:
    own = folder / str(one.version)
    own.mkdir(parents=True)
    download(client, client.get_model_version_download_uri(one.name, one.version), "", own)
    created = datetime.fromtimestamp(one.creation_timestamp / 1000, UTC)
    return ForeignVersion(str(one.version), ForeignModel(str(own), rules), created, shipped)
