"""Every YAML block of the pages is read: parts of a spec by the loader of specs, a schema file by its reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from evermodel.data.validation.schema_file import read_schema
from evermodel.spec import load_spec
from support.guides import Example, examples
from support.paths import PROJECT

BLOCKS = examples("yaml")
SHIPPED = PROJECT / "include" / "models" / "flights.yaml"
# Sections that another program reads: Prometheus.
FOREIGN = {"alerting"}


def _is(example: Example, first: str) -> bool:
    return next(iter(yaml.safe_load(example.text))) == first


PARTS = [one for one in BLOCKS if not any(_is(one, first) for first in ("schema_type", "name", *FOREIGN))]


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_DATA", "/data")


def _read(data: dict[str, Any], folder: Path) -> None:
    file = folder / f"{data['name']}.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    load_spec(str(file))


def _shipped_with(part: dict[str, Any]) -> dict[str, Any]:
    """Return the shipped spec with a part changed; a source of another kind, or features, take the place of its own."""
    spec: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
    del spec["validation"]["ranges"]  # of columns that other features do not have
    if "watch" in part:  # in place of candidates
        del spec["candidates"]
    for name, value in part.items():
        kept = isinstance(value, dict) and "kind" not in value and name != "features"
        spec[name] = {**(spec.get(name) or {}), **value} if kept else value
    return spec


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_it_is_yaml_with_sections(block: Example) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize("block", PARTS, ids=str)
def test_a_part_of_a_spec_is_read_with_the_rest_of_the_shipped_one(
    block: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = yaml.safe_load(block.text)
    for environment in ("", *part.get("environments", {})):
        monkeypatch.setenv("EVERMODEL_ENVIRONMENT", environment)
        _read(_shipped_with(part), tmp_path)


def test_a_field_that_no_spec_has_is_found(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="windoww"):
        _read(_shipped_with({"drift": {"windoww": "7d"}}), tmp_path)


def test_the_other_fallbacks_that_a_comment_names_are_read(tmp_path: Path) -> None:
    (block,) = [one for one in PARTS if one.text.startswith("serving:\n  fallback:")]
    others = [line.split("or", 1)[1] for line in block.text.splitlines() if line.startswith("# or")]
    assert len(others) == 2
    for other in others:
        _read(_shipped_with({"serving": {"fallback": yaml.safe_load(other)}}), tmp_path)


@pytest.mark.parametrize("block", [one for one in BLOCKS if _is(one, "name")], ids=str)
def test_a_whole_spec_is_read_as_it_is(block: Example, tmp_path: Path) -> None:
    _read(yaml.safe_load(block.text), tmp_path)


@pytest.mark.parametrize("block", [one for one in BLOCKS if _is(one, "schema_type")], ids=str)
def test_a_schema_file_is_read(block: Example, tmp_path: Path) -> None:
    file = tmp_path / "flights.schema.yaml"
    file.write_text(block.text)
    assert set(read_schema(file).columns) == {"temp", "origin"}
