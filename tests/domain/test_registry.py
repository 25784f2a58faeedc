from __future__ import annotations

import multiprocessing
import uuid
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from evermodel.cli.diagnostics.tracking import _registry
from evermodel.core.errors import NoChampionError, RegistryConflictError, SettingsError
from evermodel.registry.registered_names import PrefixedClient, named
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import CHAMPION, RegistryEntry
from evermodel.registry.rest_client import RestClient
from evermodel.registry.tags import RUN_KEY
from evermodel.registry.tracking import connect, version_url
from evermodel.reports.overview.server import TrackingServer
from support.registry_shelf import Shelf


@pytest.fixture
def shelf(mlflow_server: str) -> Shelf:
    return Shelf(mlflow_server)


def test_a_model_that_does_not_exist_has_no_champion_no_versions_and_no_history(shelf: Shelf) -> None:
    assert shelf.state == (None, None, None)
    assert shelf.served == []
    assert ModelRegistry(shelf.client).versions(shelf.name, "key") == []
    assert ModelRegistry(shelf.client).read(shelf.name).read_json("any") is None
    with pytest.raises(NoChampionError, match=f"retrain_{shelf.name}"):
        ModelRegistry(shelf.client).champion(shelf.name)


def test_registering_a_run_key_again_finds_its_version(shelf: Shelf) -> None:
    first, again, other = shelf.register("a"), shelf.register("a"), shelf.register("b")

    assert (first, again, other) == ("1", "1", "2")
    assert shelf.state == (None, None, "2")
    assert shelf.client.get_model_version(shelf.name, "1").tags == {RUN_KEY: "a", "made_by": "a"}


class WithoutTagSearch:
    """A registry as Unity Catalog is: it searches by name alone, and its lists have no tags."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def search_model_versions(self, filter_string: str, **options: Any) -> Any:
        if "tags" in filter_string:
            raise MlflowException("unsupported filter", error_code=INVALID_PARAMETER_VALUE)
        found = self._client.search_model_versions(filter_string, **options)
        for version in found:
            version.tags.clear()
        return found


def test_a_registry_that_cannot_search_by_tag_registers_once_too(shelf: Shelf) -> None:
    shelf.register("a"), shelf.register("b")
    registry = ModelRegistry(WithoutTagSearch(shelf.client))  # type: ignore[arg-type]
    assert [str(version.version) for version in registry.versions(shelf.name, "b")] == ["2"]
    assert registry.versions(shelf.name, "c") == []
    assert _registry(WithoutTagSearch(shelf.client)).level == "yellow"  # type: ignore[arg-type]
    assert _registry(shelf.client).level == "green"


class ThreeLevels(WithoutTagSearch):
    """It refuses names without a catalog and a schema, too."""

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def asked(model: str, *rest: Any, **options: Any) -> Any:
            if model.count(".") != 2:
                raise MlflowException("specify all three levels", error_code=INVALID_PARAMETER_VALUE)
            return method(model, *rest, **options)

        return asked if "registered_model" in name or "model_version" in name else method


def test_with_a_prefix_only_the_registry_knows_a_model_by_another_name(
    mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = connect(mlflow_server)
    monkeypatch.setenv("EVERMODEL_REGISTRY_PREFIX", "main.retail")
    shelf = Shelf(mlflow_server)
    assert [shelf.register(key) for key in ("a", "b", "a")] == ["1", "2", "1"]
    shelf.promote("1", None, "a")
    shelf.promote("2", "1", "b", day=1)
    assert shelf.state == ("2", "1", None)
    assert shelf.served == [(None, "1"), ("1", "2")]
    assert plain.get_registered_model(f"main.retail.{shelf.name}").aliases == {CHAMPION: "2", "previous": "1"}
    found = shelf.client.get_model_version(shelf.name, "1")
    assert (found.name, found.version, found.tags["made_by"]) == (shelf.name, "1", "a")
    for client in (shelf.client, named(RestClient(mlflow_server))):  # type: ignore[arg-type]
        assert RegistryEntry.read(client, shelf.name).aliases == {CHAMPION: "2", "previous": "1"}
    assert f"/#/models/main.retail.{shelf.name}/versions/1" in version_url(mlflow_server, shelf.name, "1")
    with TrackingServer(mlflow_server) as server:
        assert shelf.name in {model["name"] for model in server.models()}
    assert [version.name for version in shelf.client.search_model_versions()].count(shelf.name) == 2

    catalog = PrefixedClient(ThreeLevels(plain), "main.retail.")  # type: ignore[arg-type]
    shelf.client = catalog  # type: ignore[assignment]
    assert [shelf.register(key) for key in ("b", "c")] == ["2", "3"]
    shelf.promote("3", "2", "c", day=2)
    assert shelf.state == ("3", "2", None)

    monkeypatch.setenv("EVERMODEL_REGISTRY_PREFIX", "main.other")
    other = connect(mlflow_server)
    assert RegistryEntry.read(other, shelf.name).aliases == {}
    assert shelf.name not in {version.name for version in other.search_model_versions()}
    monkeypatch.setenv("EVERMODEL_REGISTRY_PREFIX", "main/retail")
    with pytest.raises(SettingsError, match="is no prefix of names"):
        connect(mlflow_server)


def test_of_twins_the_older_stays(shelf: Shelf) -> None:
    shelf.register("a")
    shelf.twin("a")

    assert shelf.register("a") == "1"

    assert [v.version for v in ModelRegistry(shelf.client).versions(shelf.name, "a")] == ["1"]


def test_a_twin_that_somebody_else_deletes_first_is_no_error(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.register("a")
    shelf.twin("a")
    delete = shelf.client.delete_model_version

    def delete_late(name: str, version: str) -> None:
        delete(name, version)
        delete(name, version)

    monkeypatch.setattr(shelf.client, "delete_model_version", delete_late)

    assert shelf.register("a") == "1"


def _register(tracking_uri: str, shelf: Shelf, barrier: Any, answers: Any) -> None:
    shelf.client = connect(tracking_uri)
    barrier.wait(30)
    try:
        answers.put(shelf.register("same"))
    except Exception as error:  # noqa: BLE001  the parent shows it
        answers.put(repr(error))


def test_two_processes_that_register_one_run_key_at_once_end_in_one_version(mlflow_server: str) -> None:
    shelf, fork = Shelf(mlflow_server), multiprocessing.get_context("fork")
    for _ in range(3):
        shelf.name = f"shelf_{uuid.uuid4().hex[:8]}"
        barrier, answers = fork.Barrier(2), fork.Queue()
        both = [
            fork.Process(target=_register, args=(mlflow_server, shelf, barrier, answers)) for _ in range(2)
        ]
        for process in both:
            process.start()
        found = {answers.get(timeout=60) for _ in both}
        for process in both:
            process.join(30)

        left = shelf.client.search_model_versions(f"name = '{shelf.name}'")
        assert found == {str(v.version) for v in left}
        assert len(left) == 1
        assert shelf.state == (None, None, str(left[0].version))


def test_champion_previous_and_history_follow_the_promotions_in_order(shelf: Shelf) -> None:
    one, two, three = (shelf.register(key) for key in "abc")

    first = shelf.promote(one, None, "a", day=0)
    assert shelf.state == (one, None, three)
    shelf.promote(three, one, "c", day=7)
    shelf.promote(two, three, "b", day=14)

    assert shelf.state == (two, three, None)
    assert shelf.served == [(None, one), (one, three), (three, two)]
    assert ModelRegistry(shelf.client).read(shelf.name).promotions[0] == first
    assert (first.by, first.reason, first.run_key, first.at) == (
        "ada",
        "why",
        "a",
        "2026-01-05T00:00:00.000+00:00",
    )
    assert ModelRegistry(shelf.client).champion(shelf.name).version == two


@pytest.mark.parametrize("expected", [None, "2"])
def test_a_champion_that_changed_since_the_decision_is_not_replaced(
    shelf: Shelf, expected: str | None
) -> None:
    one, two, three = (shelf.register(key) for key in "abc")
    shelf.promote(one, None, "a")
    before = shelf.state

    with pytest.raises(
        RegistryConflictError, match=r"champion is version 1, but version 3 was evaluated against"
    ):
        shelf.promote(three, expected, "c")

    assert shelf.state == before
    assert shelf.served == [(None, one)]
    assert two == "2"


def test_a_champion_that_vanished_since_the_decision_is_a_conflict(shelf: Shelf) -> None:
    one, two = shelf.register("a"), shelf.register("b")
    shelf.promote(one, None, "a")
    shelf.client.delete_registered_model_alias(shelf.name, CHAMPION)

    with pytest.raises(RegistryConflictError):
        shelf.promote(two, one, "b")


def test_promoting_an_old_run_again_does_not_undo_a_newer_champion(shelf: Shelf) -> None:
    one, two, three = (shelf.register(key) for key in "abc")
    old = shelf.promote(one, None, "a", day=0)
    shelf.promote(two, one, "b", day=1)
    shelf.promote(three, two, "c", day=2)

    assert shelf.promote(one, None, "a", day=3) == old
    assert shelf.promote(two, one, "b", day=3).version == two

    assert shelf.state == (three, two, None)
    assert len(shelf.served) == 3


def test_promoting_an_old_run_again_does_not_undo_a_way_back(shelf: Shelf) -> None:
    one, two = shelf.register("a"), shelf.register("b")
    shelf.promote(one, None, "a", day=0)
    shelf.promote(two, one, "b", day=1)
    shelf.promote(one, two, "back", day=2)

    shelf.promote(two, one, "b", day=3)

    assert shelf.state == (one, two, None)
    assert shelf.served == [(None, one), (one, two), (two, one)]


def _interrupt(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise MlflowException("the server went away")

    monkeypatch.setattr(shelf.client, "set_registered_model_alias", broken)


def test_a_promotion_that_failed_on_the_way_is_completed_before_the_next_one(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (shelf.register(key) for key in "abc")
    shelf.promote(one, None, "a", day=0)
    with monkeypatch.context() as patch:
        _interrupt(shelf, patch)
        with pytest.raises(MlflowException):
            shelf.promote(two, one, "b", day=1)

    with pytest.raises(RegistryConflictError):
        shelf.promote(three, one, "c", day=2)
    assert shelf.state == (two, one, three)
    assert shelf.served == [(None, one), (one, two)]

    shelf.promote(three, two, "c", day=3)  # judged again, against the newer champion
    assert shelf.state == (three, two, None)
    assert shelf.served == [(None, one), (one, two), (two, three)]


def test_a_version_that_serves_is_not_called_challenger_again(shelf: Shelf) -> None:
    one = shelf.register("a")
    shelf.promote(one, None, "a")

    assert shelf.register("a") == one

    assert shelf.state == (one, None, None)


def test_tags_of_a_model_hold_json(shelf: Shelf) -> None:
    shelf.register("a")

    ModelRegistry(shelf.client).write_json(shelf.name, "evermodel.x", {"b": [1, None], "a": "ü"})

    assert ModelRegistry(shelf.client).read(shelf.name).read_json("evermodel.x") == {"a": "ü", "b": [1, None]}
    assert ModelRegistry(shelf.client).read(shelf.name).read_json("evermodel.y") is None


def test_run_keys_of_any_sign_and_length_have_promotions_of_their_own(shelf: Shelf) -> None:
    one, two = (shelf.register(key) for key in ("a", "b"))
    shelf.promote(one, None, "run/1", day=0)

    shelf.promote(two, one, "run:1", day=1)

    shelf.promote(one, two, "run 1 " + "é" * 300, day=2)

    assert shelf.state == (one, two, None)
    assert shelf.served == [(None, one), (one, two), (two, one)]
