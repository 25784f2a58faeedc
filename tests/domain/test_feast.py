"""Feast in a spec, and what is said where its environment is missing; with Feast itself: tests/integration/test_feast_join.py."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from evermodel.core.errors import SourceError
from evermodel.data.online.part import part_of, values_of
from evermodel.data.sources import read_window
from evermodel.modeling.scoring.request_rows import Inputs
from evermodel.spec.window import Window
from support.feast_repo import START, feast_rows, feast_spec

WINDOW = Window(START, START + timedelta(days=1))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    pq.write_table(feast_rows(), tmp_path / "rows.parquet")
    (tmp_path / "feature_store.yaml").write_text("project: shop\n")
    return tmp_path


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ([{"key": "customer", "features": ["spent", "colour"]}], "colour is not listed under features"),
        ([{"key": "customer", "features": ["spent", "spent"]}], "spent is defined twice"),
        ([{"key": "owner", "features": ["spent", "owner"]}], "the key owner is a feature of Feast itself"),
        (
            [{"key": "a", "features": ["spent"]}, {"key": "a", "features": ["orders"]}],
            "the key a is listed twice",
        ),
    ],
)
def test_a_spec_says_what_does_not_fit(tmp_path: Path, views: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        feast_spec(tmp_path, {"views": views})


def test_requests_have_keys_where_features_are_looked_up_and_a_key_of_nothing_has_missing_values(
    tmp_path: Path,
) -> None:
    spec = feast_spec(tmp_path, features={"online": {"every": "1d"}})
    inputs = Inputs.of(spec, tuple(spec.features.names), frozenset(spec.features.numeric))
    assert inputs.looked_up == {"spent", "orders", "mean", "owner"}
    assert inputs.keys == ("customer", "shop")
    view = spec.feature_views[0]
    assert values_of(view, None) == [None, None, None]
    other = feast_spec(tmp_path, {"service": "other"}, features={"online": {"every": "1d"}})
    assert part_of(spec, view, START).definition != part_of(other, other.feature_views[0], START).definition
    with pytest.raises(ValidationError, match=r"shop, by which events are found, is not in requests"):
        type(spec).model_validate({**spec.canonical(), "context": ["customer"]})


def test_columns_of_the_rows_alone_are_read_without_feast(repo: Path) -> None:
    found = read_window(feast_spec(repo), WINDOW, with_label=True, columns=["id", "at", "customer"])
    assert found.column_names == ["id", "at", "customer"]


def test_the_missing_environment_is_named(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> str:
        with pytest.raises(SourceError) as caught:
            read_window(feast_spec(repo), WINDOW, with_label=True)
        return str(caught.value)

    monkeypatch.delenv("EVERMODEL_FEAST_PYTHON", raising=False)
    assert "set EVERMODEL_FEAST_PYTHON to feast-env/bin/python" in refused()
    monkeypatch.setenv("EVERMODEL_FEAST_PYTHON", "/nowhere/python")
    assert "/nowhere/python cannot be started (No such file or directory)" in refused()
    monkeypatch.setenv("EVERMODEL_FEAST_PYTHON", sys.executable)  # which has no Feast
    assert "No module named 'feast'" in (said := refused())
    assert f"install it in Feast's environment, that of {sys.executable}" in said
    killed = repo / "killed"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setenv("EVERMODEL_FEAST_PYTHON", str(killed))
    assert "Feast's process died (signal 9)" in refused()
    (repo / "feature_store.yaml").unlink()
    assert f"there is no feature_store.yaml in {repo}" in refused()
