"""A registered model without files, for tests of what the registry keeps."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import CHALLENGER, CHAMPION, PREVIOUS, Promotion
from evermodel.registry.tags import RUN_KEY
from evermodel.registry.tracking import connect

START = datetime(2026, 1, 5, tzinfo=UTC)


def promoted(
    registry: ModelRegistry, model: str, version: str, *, expected: str | None, run_key: str, **more: Any
) -> Promotion:
    """Make a version the champion, without a check of its decision."""
    with registry.holding(model) as held:
        return registry.promote(held, version, expected=expected, run_key=run_key, **more)


class Shelf:
    """A registered model of its own, whose versions all point to the artifacts of one run."""

    def __init__(self, tracking_uri: str) -> None:
        self.client = connect(tracking_uri)
        self.name = f"shelf_{uuid.uuid4().hex[:8]}"
        experiment = self.client.create_experiment(self.name)
        self.run = self.client.create_run(experiment)

    def register(self, key: str) -> str:
        source = f"{self.run.info.artifact_uri}/model"
        version = ModelRegistry(self.client).register(
            self.name, key, source=source, run_id=self.run.info.run_id, tags={"made_by": key}
        )
        return str(version.version)

    def twin(self, key: str) -> None:
        source, run = f"{self.run.info.artifact_uri}/model", self.run.info.run_id
        self.client.create_model_version(self.name, source, run, tags={RUN_KEY: key})

    def promote(self, version: str, expected: str | None, key: str, day: int = 0) -> Promotion:
        moment = START + timedelta(days=day)
        return promoted(
            ModelRegistry(self.client),
            self.name,
            version,
            expected=expected,
            by="ada",
            reason="why",
            run_key=key,
            at=moment,
        )

    def alias(self, name: str) -> str | None:
        version = ModelRegistry(self.client).at_alias(self.name, name)
        return None if version is None else str(version.version)

    @property
    def state(self) -> tuple[str | None, str | None, str | None]:
        names = (CHAMPION, PREVIOUS, CHALLENGER)
        champion, previous, challenger = (self.alias(name) for name in names)
        return champion, previous, challenger

    @property
    def served(self) -> list[tuple[str | None, str]]:
        return [(p.previous, p.version) for p in ModelRegistry(self.client).read(self.name).promotions]
