from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
from kubernetes.client import ApiClient, V1Container, V1Pod, V1PodSpec

from evermodel.core.errors import SpecError
from evermodel.spec import ModelSpec
from evermodel_provider import build_dags, dag_parts
from evermodel_provider.dag_parts import task_resources
from support.paths import PROJECT
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


@pytest.fixture
def on_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dag_parts, "_on_kubernetes", lambda: True)


def rendered(spec: ModelSpec) -> dict[str, Any]:
    """Return the pod of a training as the KubernetesExecutor would ask for it."""
    template = V1Pod(
        spec=V1PodSpec(containers=[V1Container(name="base", image="airflow:3")], restart_policy="Never")
    )
    pod = PodGenerator.construct_pod(
        dag_id="retrain_m",
        task_id="train",
        pod_id="train-1",
        try_number=1,
        kube_image="airflow:3",
        date=None,
        args=["run-the-task"],
        pod_override_object=task_resources(spec, "training")["executor_config"]["pod_override"],
        base_worker_pod=template,
        namespace="ml",
        scheduler_job_id="1",
    )
    found: dict[str, Any] = ApiClient().sanitize_for_serialization(pod)
    return found


def test_a_pod_gets_memory_and_cpu(spec: ModelSpec, on_kubernetes: None) -> None:
    (base,) = rendered(spec)["spec"]["containers"]
    assert (base["name"], base["image"], base["args"]) == ("base", "airflow:3", ["run-the-task"])
    assert base["resources"] == {"requests": {"cpu": "2", "memory": "8Gi"}, "limits": {"memory": "8Gi"}}
    assert "executor_config" not in task_resources(spec, "scoring")


def test_a_pod_gets_what_kubernetes_knows(on_kubernetes: None) -> None:
    gpu = {"name": "base", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    pod = {
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "serviceAccountName": "trainer",
        "containers": [gpu],
    }
    training = {"image": "trainer:1", "pod": pod}
    made = rendered(small_spec("rows.parquet", resources={"training": training}))["spec"]
    assert {name: made[name] for name in ("nodeSelector", "tolerations", "serviceAccountName")} == {
        name: pod[name] for name in ("nodeSelector", "tolerations", "serviceAccountName")
    }
    (base,) = made["containers"]
    assert (base["image"], base["resources"]) == ("trainer:1", gpu["resources"])
    assert (base["args"], made["restartPolicy"]) == (["run-the-task"], "Never")


@pytest.mark.parametrize(
    ("pod", "named"),
    [
        ({"nodeSelektor": {"pool": "gpu"}}, "resources.training.pod.nodeSelektor"),
        ({"tolerations": [{"keys": "gpu"}]}, "resources.training.pod.tolerations[0].keys"),
    ],
)
def test_a_field_that_no_pod_has_is_named(pod: dict[str, Any], named: str, on_kubernetes: None) -> None:
    spec = small_spec("rows.parquet", resources={"training": {"pod": pod}})
    with pytest.raises(SpecError, match=re.escape(f"model {spec.name}: {named} is no field of a pod")):
        task_resources(spec, "training")


def test_a_spec_with_such_a_field_hides_no_dag_of_another(
    on_kubernetes: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (PROJECT / "include" / "models" / "flights.yaml").read_text(encoding="utf-8")
    wrong = {**yaml.safe_load(text), "name": "wrong", "resources": {"training": {"pod": {"nodes": "gpu"}}}}
    (tmp_path / "flights.yaml").write_text(text)
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path))
    assert set(build_dags(tmp_path, kinds=["retrain", "rollback"])) == {"retrain_flights", "rollback_flights"}
    with pytest.raises(SpecError, match=r"model wrong: resources.training.pod.nodes is no field of a pod"):
        build_dags(tmp_path, kinds=["broken_specs"])
