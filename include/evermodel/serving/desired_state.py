"""The desired state of a model, as the registry has it: the champion, the traffic plan and the previous champion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evermodel.core.formats import json_digest
from evermodel.modeling import model_store
from evermodel.registry import tracking
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import RegistryEntry, line_of_succession
from evermodel.registry.traffic_plan import TrafficPlan
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from pathlib import Path

    from evermodel.registry.client import MlflowClient, ModelVersion


@dataclass(frozen=True)
class DesiredState:
    """The result of one read of the registry; champion and plan are of the same moment.

    Parameters
    ----------
    previous
        The champion before it; None if there is none, or the fallback does not need it.
    plan
        The traffic plan, if it is in force.
    created
        When the registered model was created: a registry that was set up again has other versions of the same numbers.
    problem
        Why the plan in the registry cannot be used; empty if it can.
    """

    champion: str
    previous: str | None = None
    plan: TrafficPlan | None = None
    created: int = 0
    problem: str = ""

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions to load, the champion first."""
        named = (self.champion, *(self.plan.versions if self.plan else ()))
        return tuple(dict.fromkeys((*named, self.previous) if self.previous else named))

    @property
    def key(self) -> str:
        """A name of this state, the same in every process."""
        return json_digest(self.to_json())[:16]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        plan = self.plan.to_json() if self.plan else None
        return {"champion": self.champion, "previous": self.previous, "plan": plan, "born": self.created}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DesiredState:
        """Read the result of `to_json`."""
        plan = TrafficPlan.from_json(data["plan"]) if data.get("plan") else None
        return cls(str(data["champion"]), data.get("previous"), plan, int(data.get("born", 0)))


@dataclass(frozen=True)
class Registered:
    """Where a version was registered from, and what the registry has of it; None without the registry."""

    origin: str
    version: ModelVersion | None = None


class RegistrySource:
    """One model in the registry: its desired state, and the files of its versions.

    Parameters
    ----------
    tracking_uri
        Address of the registry; connected at the first read, and again after a failed one.
    """

    def __init__(self, spec: ModelSpec, tracking_uri: str) -> None:
        self._spec = spec
        self._tracking_uri = tracking_uri
        self._reader: MlflowClient | None = None

    def read(self) -> DesiredState | None:
        """Read the desired state with one request; None if the model has no champion."""
        try:
            found = ModelRegistry(self._connected()).read(self._spec.name)
        except Exception:
            self._reader = None
            raise
        champion = found.champion
        if champion is None:
            return None
        plan, problem = _plan_in_force(found, champion)
        previous = _previous(found, champion) if self._spec.serving.fallback.kind == "previous" else None
        return DesiredState(champion, previous, plan, found.born, problem)

    def find(self, version: str) -> Registered:
        """Read a version."""
        found = self._connected().get_model_version(self._spec.name, version)
        return Registered(str(found.source), found)

    def download(self, version: ModelVersion, folder: Path) -> dict[str, str]:
        """Put the files of a version into a folder, and return their SHA-256."""
        uri = f"models:/{self._spec.name}/{version.version}"
        return model_store.download(tracking.connect(self._tracking_uri), uri, folder, version)

    def _connected(self) -> MlflowClient:
        reader = self._reader
        if reader is None:
            reader = self._reader = tracking.connect_to_read(self._tracking_uri)
        return reader


def _plan_in_force(found: RegistryEntry, champion: str) -> tuple[TrafficPlan | None, str]:
    try:
        plan = found.plan
    except (ValueError, TypeError, KeyError) as error:
        return None, f"the traffic plan in the registry cannot be read ({type(error).__name__}: {error})"
    return (plan if plan is not None and plan.holds(champion) else None), ""


def _previous(found: RegistryEntry, champion: str) -> str | None:
    """Return the last champion before this one that was not rolled back."""
    line = [version for version in line_of_succession(found.promotions) if version != champion]
    return line[-1] if line else None
