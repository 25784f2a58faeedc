"""What tests of many layers share: the flights example on the committed sample, in folders of its own."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from evermodel.core.settings import Settings
from evermodel.modeling.training import TrainedCandidate
from evermodel.pipelines.retrain import Retrain
from evermodel.registry.tags import RetrainOutcome
from evermodel.registry.tracking import connect
from evermodel.spec import ModelSpec, load_spec
from evermodel.spec.window import parse_moment
from support.paths import PROJECT, SAMPLE

# A candidate that is fitted in no time.
FAST = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression", "params": {"C": 0.1}}


@dataclass
class World:
    """One model with its own specs, lake and registry entry.

    The sample has about 160 rows a week, so the spec asks for fewer rows and a wider margin than the example.
    """

    name: str
    folder: Path
    settings: Settings
    environment: dict[str, str]

    @property
    def spec_file(self) -> Path:
        return self.settings.models / f"{self.name}.yaml"

    @property
    def spec(self) -> ModelSpec:
        return load_spec(self.name, self.settings)

    @property
    def client(self) -> Any:
        return connect(self.settings.tracking_uri)

    def change(self, **sections: Any) -> None:
        """Change fields of the spec; a mapping is merged into the section, anything else replaces it."""
        data = yaml.safe_load(self.spec_file.read_text())
        for name, value in sections.items():
            data[name] = {**data.get(name, {}), **value} if isinstance(value, dict) else value
        self.spec_file.write_text(yaml.safe_dump(data, sort_keys=False))

    def retrain(self, as_of: str, run_key: str = "", reason: str = "test") -> Retrain:
        moment: datetime = parse_moment(as_of)
        key = run_key or f"retrain/{self.name}/{as_of}"
        return Retrain(self.spec, key, moment, reason, self.client, self.settings)

    def train(self, retrain: Retrain, snapshot: str) -> list[TrainedCandidate]:
        return [retrain.train(candidate, snapshot) for candidate in retrain.spec.candidates]

    def champion(self, as_of: str, run_key: str = "", *, evidence: bool = False) -> str:
        """Run a whole retrain that is forced through, and return the version it promotes.

        Its decision page, a third of a retrain's time, is drawn for the tests that read it.
        """
        retrain = self.retrain(as_of, run_key)
        snapshot = retrain.extract()
        snapshot = retrain.validate(snapshot).snapshot
        trained = self.train(retrain, snapshot.path)
        with pytest.MonkeyPatch.context() as patch:
            if not evidence:
                patch.setattr("evermodel.pipelines.evaluate.record_evidence", lambda *args: None)
            retrain.evaluate(snapshot.path, trained, "test")
        version = str(retrain.register(snapshot.to_json()).version)
        retrain.deploy(version, "test")
        retrain.finish(RetrainOutcome.DEPLOYED)
        return version


def flights_world(folder: Path, tracking_uri: str, name: str = "") -> World:
    """Make a world in a folder."""
    name = name or f"flights_{uuid.uuid4().hex[:8]}"
    models, data = folder / "models", folder / "data"
    for made in (models, data):
        made.mkdir(parents=True)
    (data / "flights.parquet").symlink_to(SAMPLE)
    spec = yaml.safe_load((PROJECT / "include" / "models" / "flights.yaml").read_text())
    spec["name"] = name
    spec["source"]["path"] = str(data / "flights.parquet")
    spec["candidates"][0]["params"] = {"max_iter": 20, "max_leaf_nodes": 7}
    spec["validation"]["min_rows"] = 200
    spec["gate"] |= {
        "floor": 0.5,
        "margin": 0.5,
        "resamples": 200,
        "max_calibration_error": None,
        "slices": [],
    }
    spec["drift"]["min_rows"] = 50
    (models / f"{name}.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    settings = Settings(
        home=folder / "home",
        lake=folder / "lake",
        models=models,
        tracking_uri=tracking_uri,
        dvc_remote=str(folder / "dvc"),
        airflow_url="http://127.0.0.1:8080",
    )
    environment = {
        "EVERMODEL_HOME": str(settings.home),
        "EVERMODEL_LAKE": str(settings.lake),
        "EVERMODEL_MODELS": str(settings.models),
        "EVERMODEL_DVC_REMOTE": settings.dvc_remote,
        "EVERMODEL_DATA": str(data),
        "MLFLOW_TRACKING_URI": tracking_uri,
    }
    return World(name, folder, settings, environment)
