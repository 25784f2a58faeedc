"""What Airflow learns about the package when it starts."""

from __future__ import annotations

import importlib
import tomllib
from importlib.metadata import entry_points
from typing import Any

from evermodel_provider.get_provider_info import get_provider_info
from evermodel_provider.hooks.tracking import TrackingHook
from support.paths import PROJECT


def test_the_package_has_the_name_of_the_distribution() -> None:
    project = tomllib.loads((PROJECT / "plugins" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert get_provider_info()["package-name"] == project["name"]


def test_every_named_module_and_class_exists_and_none_is_left_out() -> None:
    info = get_provider_info()
    for section in ("operators", "sensors", "hooks"):
        (entry,) = info[section]
        folder = PROJECT / "plugins" / "evermodel_provider" / section
        modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
        assert set(entry["python-modules"]) == {f"evermodel_provider.{section}.{name}" for name in modules}
        for name in entry["python-modules"]:
            importlib.import_module(name)
    for path in [*info["notifications"], *(item["hook-class-name"] for item in info["connection-types"])]:
        module, name = path.rsplit(".", 1)
        assert hasattr(importlib.import_module(module), name)


def test_airflow_knows_provider_hook_and_connection_type() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    assert "airflow-provider-evermodel" in manager.providers
    hook: Any = manager.hooks["mlflow"]
    assert (hook.hook_class_name, hook.connection_id_attribute_name) == (
        "evermodel_provider.hooks.tracking.TrackingHook",
        TrackingHook.conn_name_attr,
    )


def test_the_plugin_loads_once_with_a_link_to_the_registry() -> None:
    from airflow import plugins_manager

    plugins, errors = plugins_manager._get_plugins()

    assert errors == {}
    (plugin,) = [plugin for plugin in plugins if plugin.name == "evermodel"]
    views = {view["name"]: view for view in plugin.external_views}
    assert views["Models"]["destination"] == "nav"
    assert views["Model"]["href"] == "/evermodel/dags/{DAG_ID}"
    assert views["Models (MLflow)"]["href"].endswith("/evermodel/mlflow")
    assert [entry.name for entry in entry_points(group="airflow.plugins", name="evermodel")] == ["evermodel"]
