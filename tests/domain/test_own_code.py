"""Estimators and transformers of one's own: built by a function, stored as data, loaded where they are trusted."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.errors import ModelFormatError, SettingsError, SpecError
from evermodel.core.settings import trusted_packages
from evermodel.data.dtypes import feature_frame
from evermodel.evaluation.contract import check_contract, contract_rows
from evermodel.evaluation.latency_and_size import Speed
from evermodel.modeling import own_packages
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.scoring.loaded_version import read_served
from evermodel.modeling.skops_files import read_pipeline, write_pipeline
from evermodel.spec import ModelSpec
from evermodel.spec.features import OwnCode
from evermodel.spec.window import parse_moment
from support.flights import World
from support.small_model import small_rows, small_spec, write_rows
from support.whole_loop import go_round

OWN = {"name": "own", "estimator": "own_models:build", "params": {"C": 0.5}}
TYPES = ("own_models.Winsorizer",)
CHECKS = [
    "build", "clone", "fit", "predict", "fit again", "store and load", "row alone", "missing values", "unseen category",
    "time",
]  # fmt: skip


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_TRUSTED_PACKAGES", "own_models, another")


def own_spec(path: Path | str = "unused", **sections: Any) -> ModelSpec:
    return small_spec(path, **{"candidates": [OWN], "trusted_types": TYPES, **sections})


def fitted(spec: ModelSpec) -> tuple[Any, Any]:
    rows = small_rows()
    frame = feature_frame(spec, rows)
    return build_pipeline(spec, spec.candidates[0]).fit(frame, np.asarray(rows["late"])), frame


def test_a_function_builds_the_whole_pipeline_with_its_parameters() -> None:
    spec = own_spec()
    pipeline = build_pipeline(spec, spec.candidates[0])
    assert [type(step).__name__ for _, step in pipeline.steps] == [
        "Winsorizer",
        "ColumnTransformer",
        "LogisticRegression",
    ]
    assert (pipeline[-1].C, pipeline[-1].random_state) == (0.5, spec.seed)


def test_a_class_gets_what_an_estimator_of_scikit_learn_gets() -> None:
    nearest = {"name": "nearest", "estimator": "own_models.Nearest", "params": {"scale": 2.0}}
    spec = own_spec(candidates=[nearest])
    pipeline, frame = fitted(spec)
    assert type(pipeline[0]).__name__ == "ColumnTransformer"
    assert np.isfinite(pipeline.predict_proba(frame)).all()


@pytest.mark.parametrize(
    ("estimator", "params", "said"),
    [
        ("untrusted.models:build", {}, "is not from sklearn, .*EVERMODEL_TRUSTED_PACKAGES"),
        ("own_models:missing", {}, "own_models:missing cannot be imported"),
        (
            "own_models:build",
            {"D": 1},
            "build has no parameter D; its parameters are: C, random_state, share",
        ),
        ("own_models:mistaken", {"mistake": "build"}, "returned a str without `fit` and `predict_proba`"),
        ("own_models:np", {}, "is not a function"),
        ("own_models.Winsorizer", {}, "is not a classifier that gives probabilities"),
    ],
)
def test_what_cannot_be_built_is_told(estimator: str, params: dict[str, Any], said: str) -> None:
    spec = own_spec(candidates=[{"name": "own", "estimator": estimator, "params": params}])
    with pytest.raises(SpecError) as raised:
        build_pipeline(spec, spec.candidates[0])
    assert _matches(said, f"{raised.value.problem}; {raised.value.advice}")


def _matches(pattern: str, text: str) -> bool:
    import re

    return re.search(pattern, " ".join(text.split())) is not None


@pytest.mark.parametrize("name", ["os", "builtins", "my package", "a.b"])
def test_pythons_own_modules_are_never_trusted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_TRUSTED_PACKAGES", f"own_models,{name}")
    with pytest.raises(SettingsError, match="which no model may use"):
        trusted_packages()


def test_a_pipeline_is_stored_with_the_listed_types_and_answers_the_same(tmp_path: Path) -> None:
    spec = own_spec()
    pipeline, frame = fitted(spec)
    write_pipeline(pipeline, tmp_path / "model.skops", spec.own_code)
    again = read_pipeline(tmp_path / "model.skops", spec.own_code)
    assert again.predict_proba(frame).tolist() == pipeline.predict_proba(frame).tolist()


@pytest.mark.parametrize(
    ("packages", "types"),
    [("", TYPES), ("another", TYPES), ("own_models", ()), ("own_models", ("own_models.Nearest",))],
)
def test_a_type_needs_the_spec_and_the_installation(
    packages: str, types: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, _ = fitted(own_spec())
    write_pipeline(pipeline, tmp_path / "model.skops", OwnCode(types=TYPES))
    monkeypatch.setenv("EVERMODEL_TRUSTED_PACKAGES", packages)
    with pytest.raises(ModelFormatError, match=r"untrusted types: own_models\.Winsorizer") as raised:
        read_pipeline(tmp_path / "model.skops", OwnCode(types=types))
    assert "trusted_types" in raised.value.advice


def _versions_file(folder: Path, packages: dict[str, str]) -> Path:
    folder.joinpath(own_packages.FILE).write_text(json.dumps({"packages": packages, "format": 1}))
    return folder


def test_another_version_of_a_package_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "planted_package"
    code.mkdir()
    (code / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    kept = own_packages.versions_of(["planted_package", "sklearn", "pyarrow"])
    assert (kept["sklearn"][:14], kept["pyarrow"][:9]) == ("scikit-learn==", "pyarrow==")

    own_packages.require_versions(_versions_file(tmp_path, kept))
    (code / "models.py").write_text("x = 1\n")
    with pytest.raises(
        ModelFormatError, match=r"stored with planted_package \(SHA-256 of its files \w{12}\), and planted"
    ):
        own_packages.require_versions(tmp_path)
    with pytest.raises(ModelFormatError, match=r"stored with pyarrow==0\.1, and pyarrow==\d"):
        own_packages.require_versions(_versions_file(tmp_path, {"pyarrow": "pyarrow==0.1"}))
    with pytest.raises(ModelFormatError, match="the package gone, which the model uses, is not installed"):
        own_packages.require_versions(_versions_file(tmp_path, {"gone": "gone==1"}))
    assert "planted_package" not in sys.modules


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    temp, carrier = generator.normal(size=80), generator.choice(["AA", "BB", "CC"], 80)
    late = ((temp + (carrier == "AA") + generator.normal(size=80)) > 0.4).astype(int)
    table = small_rows(
        temp=temp.tolist(),
        wind=generator.random(80).tolist(),
        carrier=[name if n % 10 else None for n, name in enumerate(carrier.tolist())],
        late=late.tolist(),
    )
    return write_rows(tmp_path / "rows.parquet", table)


Contract = Callable[[dict[str, Any], tuple[str, ...]], dict[str, Any]]


@pytest.fixture
def contract(rows_file: Path) -> Contract:
    def checks(candidate: dict[str, Any], types: tuple[str, ...]) -> dict[str, Any]:
        spec = own_spec(rows_file, candidates=[candidate], trusted_types=types)
        rows = contract_rows(spec, parse_moment("2024-01-10"))
        return {line.name: line for line in check_contract(spec, spec.candidates[0], rows)}

    return checks


def test_a_sound_candidate_passes_every_check(contract: Contract) -> None:
    found = contract(OWN, TYPES)
    assert list(found) == CHECKS
    assert [line for line in found.values() if not line.passed] == []
    assert found["build"].detail == "Winsorizer → ColumnTransformer → LogisticRegression"


@pytest.mark.parametrize(
    ("mistake", "advice"),
    [
        ("build", "return an unfitted scikit-learn estimator"),
        ("clone", "keep every argument"),
        ("fit again", "take a seed"),
        ("store and load", "trusted_types"),
        ("row alone", "compute nothing over the rows"),
        ("missing values", "impute in a step"),
        ("unseen category", "handle_unknown"),
    ],
)
def test_each_mistake_fails_its_own_check_and_says_what_to_do(
    mistake: str, advice: str, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evermodel.evaluation.contract.measure_speed", lambda *_: Speed(1.0, 1.0, 1.0))
    candidate = {"name": "own", "estimator": "own_models:mistaken", "params": {"mistake": mistake}}
    names = tuple(f"own_models.{name}" for name in ("Winsorizer", "Centered", "Changing", "Noisy", "Closure"))
    found = contract(candidate, names)
    assert not found[mistake].passed, found
    assert advice in found[mistake].advice
    others = [name for name, line in found.items() if not line.passed and name != mistake]
    assert others == [], found


def test_the_command_prints_a_line_a_check_and_fails_with_it(
    rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evermodel.evaluation.contract.measure_speed", lambda *_: Speed(1.0, 1.0, 1.0))
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path))
    good = own_spec(rows_file).canonical()
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(good))
    shown = CliRunner().invoke(app, ["check", "small", "--try", "--as-of", "2024-01-10"])
    assert shown.exit_code == 0, shown.output
    assert "    ✓ store and load   0." in shown.stdout, shown.output

    (tmp_path / "small.yaml").write_text(yaml.safe_dump({**good, "trusted_types": []}))
    shown = CliRunner().invoke(app, ["check", "small", "--try", "--as-of", "2024-01-10"])
    assert shown.exit_code == 1
    assert (
        "✗ store and load   Pipeline: the model contains untrusted types: own_models.Winsorizer"
        in shown.stdout
    )
    told = CliRunner().invoke(app, ["check", "small", "--try", "--as-of", "2024-01-10", "--json"])
    (line,) = json.loads(told.stdout)
    assert [check["name"] for check in line["candidates"]["own"] if not check["passed"]] == ["store and load"]


def test_the_whole_loop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline with a transformer of one's own passes the gate, serves, scores, and is made again bit for bit."""
    done = go_round(world, "binary", OWN, trusted_types=list(TYPES))
    spec, version, files = done.world.spec, done.version, done.files
    assert done.served.engine == "sklearn"

    monkeypatch.setenv("EVERMODEL_TRUSTED_PACKAGES", "")
    with pytest.raises(ModelFormatError, match=r"own_models\.Winsorizer"):
        read_served(spec, version, files)
    monkeypatch.setenv("EVERMODEL_TRUSTED_PACKAGES", "own_models")
    monkeypatch.setattr(own_packages, "distribution_pin", lambda package: f"{package}==2.0")
    with pytest.raises(
        ModelFormatError, match=r"stored with own_models \(SHA-256 .*and own_models==2\.0 is installed"
    ):
        read_served(spec, version, files)
