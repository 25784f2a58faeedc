from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from evermodel.spec import ModelSpec
from evermodel_provider import dag_parts
from evermodel_provider.dag_parts import task_resources
from support.small_model import small_spec

WANTED = {
    "training": {"queue": "training", "pool": "evermodel_training", "slots": 2, "memory": "8Gi", "cpu": "2"}
}


@pytest.fixture
def spec() -> ModelSpec:
    return small_spec("rows.parquet", resources=WANTED)


def test_a_task_gets_the_queue_and_pool_of_its_kind(spec: ModelSpec) -> None:
    assert task_resources(spec, "training") == {
        "queue": "training",
        "pool": "evermodel_training",
        "pool_slots": 2,
    }
    assert task_resources(spec, "registry") == {}


def test_a_pod_gets_memory_and_cpu(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    client = ModuleType("kubernetes.client")
    made = ("V1Container", "V1ResourceRequirements", "V1Pod", "V1PodSpec")
    client.models = SimpleNamespace(**dict.fromkeys(made, SimpleNamespace))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kubernetes", ModuleType("kubernetes"))
    monkeypatch.setitem(sys.modules, "kubernetes.client", client)
    monkeypatch.setattr(dag_parts, "_on_kubernetes", lambda: True)
    pod = task_resources(spec, "training")["executor_config"]["pod_override"]
    (base,) = pod.spec.containers
    assert base.name == "base"
    assert base.resources == SimpleNamespace(requests={"cpu": "2", "memory": "8Gi"}, limits={"memory": "8Gi"})
    assert "executor_config" not in task_resources(spec, "scoring")
