"""What the Models page knows of features from the specs: meaning, owner, origin, and the models that share them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from evermodel.reports.overview.catalogue import SpecFolder, catalogue
from evermodel.spec import ModelSpec
from evermodel.spec.load import spec_files
from support.small_model import small_spec

VISITS = {"key": "carrier", "time_column": "seen_at", "path": "/data/visits.parquet"}


def a_spec(name: str, path: str = "/data/rows.parquet", over: str = "1d", **sections: Any) -> ModelSpec:
    visits = {"name": "visits", "table": "visits", "function": "count", "over": over}
    features = {"numeric": ["temp", "visits"], "categorical": ["carrier"], "aggregates": [visits]}
    source = {"path": path, "tables": {"visits": VISITS}}
    return small_spec("", name=name, source=source, features=features, **sections)


def test_features_have_their_notes_and_their_origin() -> None:
    notes = {"temp": {"description": "In degrees", "owner": "weather"}, "at": {"description": "Departure"}}
    spec = a_spec("delays", owner="ops", documentation=notes)
    temp, visits, carrier = catalogue({"delays": spec}, "delays")
    assert temp == {
        "name": "temp",
        "description": "In degrees",
        "owner": "weather",
        "source": "/data/rows.parquet",
        "models": [],
    }
    assert (visits["owner"], visits["source"]) == ("ops", "count over 1d of visits, by carrier")
    assert carrier["description"] == ""


def test_models_share_what_is_read_and_computed_alike() -> None:
    specs = {
        "delays": a_spec("delays"),
        "same": a_spec("same"),
        "elsewhere": a_spec("elsewhere", path="/data/others.parquet"),
        "longer": a_spec("longer", over="7d"),
    }
    used = {one["name"]: one["models"] for one in catalogue(specs, "delays")}
    assert used == {
        "temp": ["longer", "same"],
        "visits": ["elsewhere", "same"],
        "carrier": ["longer", "same"],
    }


def test_feasts_features_come_from_its_service() -> None:
    feast = {"repo": "/repos/shop", "service": "churn", "views": [{"key": "carrier", "features": ["wind"]}]}
    spec = small_spec("", source={"path": "/data/rows.parquet", "feast": feast})
    specs = {"small": spec, "other": spec.model_copy(update={"name": "other"})}
    wind = next(one for one in catalogue(specs, "small") if one["name"] == "wind")
    assert (wind["source"], wind["models"]) == ("Feast's churn, by carrier", ["other"])


def test_a_note_on_no_column_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="documentation: tempo is not a column of this model"):
        a_spec("delays", documentation={"tempo": {"description": "?"}})


def test_a_changed_file_is_read_again_and_a_broken_one_left_out(tmp_path: Path) -> None:
    folder, path = SpecFolder(), tmp_path / "small.yaml"
    (tmp_path / "broken.yaml").write_text("name: [")
    for owner in ("ops", "weather"):
        path.write_text(yaml.safe_dump({**small_spec("x").canonical(), "owner": owner}))
        os.utime(path, ns=(1, {"ops": 1, "weather": 2}[owner]))
        found = folder.specs(spec_files(tmp_path))
        assert {name: spec.owner for name, spec in found.items()} == {"small": owner}
    path.unlink()
    assert folder.specs([path]) == {}
    assert catalogue({}, "small") == []
