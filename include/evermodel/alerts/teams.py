"""Who gets a weekly digest: the owners of models, each with the models that they care for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from evermodel.spec import ModelSpec


@dataclass(frozen=True)
class Team:
    """An owner and their models, sorted by name; those without a digest are left out."""

    owner: str
    specs: tuple[ModelSpec, ...]

    @property
    def name(self) -> str:
        """The owner in the characters that Airflow and file systems allow; different owners get different names."""
        safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", self.owner)[:100]
        return safe if safe == self.owner else f"{safe}_{hashlib.sha256(self.owner.encode()).hexdigest()[:6]}"

    @property
    def cron(self) -> str:
        """When the digest is sent; where the models' crons differ, that of the first model by name holds for all."""
        return str(self.specs[0].alerts.digest)

    @property
    def dissenters(self) -> tuple[str, ...]:
        """The models whose cron differs from the one that holds."""
        return tuple(spec.name for spec in self.specs if spec.alerts.digest != self.cron)

    @property
    def channels(self) -> dict[tuple[str, str], tuple[ModelSpec, ...]]:
        """The models by connection and channel; each gets a message of its own."""
        found: dict[tuple[str, str], tuple[ModelSpec, ...]] = {}
        for spec in self.specs:
            place = (spec.alerts.slack_connection, spec.alerts.channel)
            found[place] = (*found.get(place, ()), spec)
        return found


def teams(specs: Iterable[ModelSpec]) -> list[Team]:
    """Group models by owner, sorted by owner."""
    by_owner: dict[str, list[ModelSpec]] = {}
    for spec in sorted(specs, key=lambda spec: spec.name):
        if spec.alerts.digest is not None:
            by_owner.setdefault(spec.owner, []).append(spec)
    return [Team(owner, tuple(found)) for owner, found in sorted(by_owner.items())]
