"""The manifests have only fields that the cluster knows, and name what the app has."""

from __future__ import annotations

import re
from typing import Any

import kubernetes.client.models as kinds
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from evermodel.serving.metrics import Metrics
from evermodel.serving.protocols.addresses import OPEN_PATHS
from support.paths import PROJECT

FOLDER = PROJECT / "include" / "deploy" / "kubernetes"
# KServe's fields as far as the manifests have them, by kind; checked with the models of its SDK, kserve 0.21.
KSERVE: dict[str, dict[str, str]] = {
    "ServingRuntime": {"spec": "ServingRuntimeSpec"},
    "ServingRuntimeSpec": {
        "supportedModelFormats": "list[SupportedModelFormat]",
        "protocolVersions": "list[str]",
        "multiModel": "bool",
        "containers": "list[V1Container]",
        "volumes": "list[V1Volume]",
    },
    "SupportedModelFormat": {"name": "str", "version": "str", "autoSelect": "bool"},
    "InferenceService": {"spec": "InferenceServiceSpec"},
    "InferenceServiceSpec": {"predictor": "PredictorSpec"},
    "PredictorSpec": {"minReplicas": "int", "maxReplicas": "int", "model": "ModelSpec"},
    "ModelSpec": {
        "modelFormat": "ModelFormat",
        "runtime": "str",
        "protocolVersion": "str",
        "env": "list[V1EnvVar]",
    },
    "ModelFormat": {"name": "str", "version": "str"},
}
_BUILT_IN = {
    "Deployment": "V1Deployment",
    "Service": "V1Service",
    "PodDisruptionBudget": "V1PodDisruptionBudget",
    "HorizontalPodAutoscaler": "V2HorizontalPodAutoscaler",
}


def manifests(file: str) -> dict[str, dict[str, Any]]:
    found = yaml.safe_load_all((FOLDER / file).read_text(encoding="utf-8"))
    return {manifest["kind"]: manifest for manifest in found}


SERVING, RUNTIME = manifests("serving.yaml"), manifests("kserve.yaml")
POD = SERVING["Deployment"]["spec"]["template"]["spec"]
CONTAINERS = [*POD["containers"], *RUNTIME["ServingRuntime"]["spec"]["containers"]]


def fields_of(kind: str) -> dict[str, str]:
    if kind in KSERVE:
        top = {"apiVersion": "str", "kind": "str", "metadata": "V1ObjectMeta"}
        return {**KSERVE[kind], **(top if kind in RUNTIME else {})}
    model = getattr(kinds, kind)
    return {name: model.openapi_types[attribute] for attribute, name in model.attribute_map.items()}


def unknown(kind: str, value: Any, place: str) -> list[str]:
    """Return the fields of a manifest that its kind does not have, and values of another type."""
    if kind.startswith("list["):
        if not isinstance(value, list):
            return [f"{place}: is no list"]
        return [bad for i, one in enumerate(value) for bad in unknown(kind[5:-1], one, f"{place}[{i}]")]
    plain = {"str": str, "int": int, "bool": bool, "object": object}.get(kind)
    if plain is not None or kind.startswith("dict"):
        return [] if isinstance(value, plain or dict) else [f"{place}: is no {kind}"]
    if not isinstance(value, dict):
        return [f"{place}: is no {kind}"]
    fields = fields_of(kind)
    bad = [f"{place}.{name}: unknown" for name in value if name not in fields]
    known = {name: one for name, one in value.items() if name in fields}
    return bad + [b for name, one in known.items() for b in unknown(fields[name], one, f"{place}.{name}")]


@pytest.mark.parametrize("kind", [*SERVING, *RUNTIME])
def test_a_manifest_has_only_fields_of_its_kind(kind: str) -> None:
    manifest = {**SERVING, **RUNTIME}[kind]
    assert not unknown(_BUILT_IN.get(kind, kind), manifest, kind)
    assert unknown(_BUILT_IN.get(kind, kind), {**manifest, "spec": {"replicsa": 2}}, kind)


def test_the_selectors_find_the_pods() -> None:
    labels = SERVING["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert SERVING["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert SERVING["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert SERVING["Service"]["spec"]["selector"] == labels
    target = SERVING["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "evermodel-serving"}
    assert "replicas" not in SERVING["Deployment"]["spec"]
    model = RUNTIME["InferenceService"]["spec"]["predictor"]["model"]
    runtime = RUNTIME["ServingRuntime"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] == runtime["spec"]["supportedModelFormats"][0]["name"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda one: one["name"])
def test_a_pod_asks_what_needs_no_token_and_has_the_walls(container: dict[str, Any]) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    probes = {name for name in container if name.endswith("Probe")}
    assert probes >= {"readinessProbe", "livenessProbe"}
    for probe in probes:
        asked = container[probe]["httpGet"]
        assert asked["path"] in OPEN_PATHS
        port = ports.get(asked["port"], asked["port"])
        assert str(port) in " ".join(container["command"])
    assert "ready" in container["readinessProbe"]["httpGet"]["path"]
    walls = {
        **container["securityContext"],
        **(POD["securityContext"] if container in POD["containers"] else {}),
    }
    assert walls["runAsNonRoot"] is True
    assert walls["runAsUser"] > 0
    assert walls["capabilities"] == {"drop": ["ALL"]}
    assert walls["readOnlyRootFilesystem"] is True
    assert walls["allowPrivilegeEscalation"] is False
    assert not [one for one in container["env"] if re.search("PASSWORD|TOKEN|SECRET", one["name"])]


def test_the_autoscaler_follows_a_metric_of_the_app() -> None:
    (rule,) = yaml.safe_load((FOLDER / "prometheus_adapter.yaml").read_text(encoding="utf-8"))["rules"][
        "custom"
    ]
    (metric,) = SERVING["HorizontalPodAutoscaler"]["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    metrics = Metrics()
    metrics.seconds.labels("flights").observe(0.1)
    samples = {
        sample.name
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }
    assert rule["seriesQuery"].partition("{")[0] in samples
