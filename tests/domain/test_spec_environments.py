"""A spec may say some things differently for staging and for production."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.errors import SpecError
from evermodel.core.settings import Settings
from evermodel.spec import load_spec
from evermodel.spec.environments import in_environment
from evermodel.spec.load import environments_of
from support.paths import PROJECT

LEAVES = st.none() | st.integers() | st.text(max_size=3)
SPECS = st.dictionaries(
    st.text("ab", max_size=2), LEAVES | st.dictionaries(st.text("ab", max_size=2), LEAVES)
)


def write(folder: Path, **environments: object) -> Path:
    data = yaml.safe_load((PROJECT / "include" / "models" / "flights.yaml").read_text())
    path = folder / "flights.yaml"
    path.write_text(yaml.safe_dump({**data, "environments": environments}))
    return path


def seen_from(environment: str) -> Settings:
    return Settings.from_environment({"EVERMODEL_ENVIRONMENT": environment})


def test_an_environment_changes_its_fields_and_no_others(tmp_path: Path) -> None:
    path = write(tmp_path, prod={"approval": "manual", "alerts": {"channel": "#prod"}})
    local, prod = load_spec(path, seen_from("local")), load_spec(path, seen_from("prod"))
    assert (local.approval, local.alerts.channel) == ("auto", "#ml-alerts")
    assert (prod.approval, prod.alerts.channel) == ("manual", "#prod")
    assert prod.alerts.slack_connection == local.alerts.slack_connection
    assert environments_of(path) == ["prod"]


def test_the_digest_tells_of_the_environment_that_runs(tmp_path: Path) -> None:
    before = load_spec(write(tmp_path, prod={"seed": 1}), seen_from("staging")).digest
    after = load_spec(write(tmp_path, prod={"seed": 2}), seen_from("staging")).digest
    assert before == after
    assert load_spec(tmp_path / "flights.yaml", seen_from("prod")).digest != after


def test_a_mistake_in_another_environment_is_found_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, prod={"approval": "perhaps"})
    assert load_spec(path, seen_from("staging")).approval == "auto"
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "perhaps" in text)
    with pytest.raises(SpecError, match=f"line {line}: approval"):
        load_spec(path, seen_from("prod"))
    done = CliRunner().invoke(app, ["check", str(path)])
    assert (done.exit_code, f"line {line}: approval" in done.output) == (1, True)


@given(SPECS, SPECS)
def test_what_the_environment_says_wins_and_the_rest_stays(spec: dict, over: dict) -> None:  # type: ignore[type-arg]
    merged = in_environment({**spec, "environments": {"prod": over}}, "prod")
    assert in_environment(spec, "prod") == spec
    assert set(merged) == {*spec, *over}
    for key, value in over.items():
        if not isinstance(value, dict):
            assert merged[key] == value
        elif isinstance(spec.get(key), dict):
            assert merged[key] == {**spec[key], **value}
