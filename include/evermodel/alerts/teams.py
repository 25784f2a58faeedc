"""The recipients of weekly digests: owners with their models."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from evermodel.spec import ModelSpec


@dataclass(frozen=True)
class Team:
    """An owner and their models with a digest, sorted by name."""

    owner: str
    specs: tuple[ModelSpec, ...]

    @property
    def name(self) -> str:
        """The owner in characters that Airflow and file systems allow, unique per owner."""
        safe = re.sub(r"[^A-Za-z0-9_.-]+", "_", self.owner)[:100]
        return safe if safe == self.owner else f"{safe}_{hashlib.sha256(self.owner.encode()).hexdigest()[:6]}"

    @property
    def cron(self) -> str:
        """The schedule of the digest; if the models' crons differ, that of the first model by name applies."""
        return str(self.specs[0].alerts.digest)

    @property
    def dissenters(self) -> tuple[str, ...]:
        """The models whose cron differs from the applied one."""
        return tuple(spec.name for spec in self.specs if spec.alerts.digest != self.cron)

    @property
    def channels(self) -> dict[tuple[str, str], tuple[ModelSpec, ...]]:
        """The models by connection and channel; one message for each."""
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
