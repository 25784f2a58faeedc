"""The compose file keeps its promises: limits, health, nothing open to the world, and no secret that is known."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.dockerfile import stages
from support.paths import PROJECT

FILE = PROJECT / "docker-compose.yaml"
DEPLOY = PROJECT / "include" / "deploy"
ONCE = {"airflow-init", "mlflow-init", "storage-init"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    return found


def test_what_runs_is_limited_restarted_and_watched(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if name in ONCE:
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert service["healthcheck"], name


def test_what_runs_once_is_limited_too(services: dict[str, Any]) -> None:
    for name in ONCE:
        assert services[name]["restart"] == "no", name
        assert services[name]["deploy"]["resources"]["limits"]["memory"], name


def test_every_service_of_our_image_builds_a_stage_that_exists(services: dict[str, Any]) -> None:
    ours = {
        name: s
        for name, s in services.items()
        if s["image"].startswith(("${EVERMODEL_IMAGE", "${EVERMODEL_SERVING_IMAGE"))
    }
    assert len(ours) > 8
    assert ours.keys() == {name for name, service in services.items() if "build" in service}
    for name, service in ours.items():
        build = service["build"]
        assert (PROJECT / build["context"] / "Dockerfile").is_file(), name
        assert build["target"] == ("serving" if name == "serving" else "production"), name
        assert build["target"] in stages(), name
        assert build["args"] == {"EVERMODEL_COMMIT": "${EVERMODEL_COMMIT:-}"}, name


def test_mlflow_answers_under_names_that_are_given(services: dict[str, Any]) -> None:
    (hosts,) = [part for part in services["mlflow"]["command"] if part.startswith("--allowed-hosts=")]
    assert hosts.endswith(",${EVERMODEL_MLFLOW_HOSTS:-localhost}")


def test_only_what_a_person_opens_is_published_and_only_to_this_machine(services: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"airflow-apiserver", "mlflow", "serving", "evidently", "grafana"}
    assert published.pop("evidently") == ["127.0.0.1:8001:8001"], "it has no login"
    for ports in published.values():
        assert all(port.startswith("${EVERMODEL_BIND:-127.0.0.1}:") for port in ports)


def test_no_secret_has_a_default(services: dict[str, Any]) -> None:
    secret = re.compile(r"\$\{(\w*(?:PASSWORD|SECRET|TOKEN|KEY)\w*)(:?[-?])")
    found = secret.findall(FILE.read_text(encoding="utf-8"))
    assert len(found) > 10
    assert {name for name, kind in found if kind != ":?"} <= {"EVERMODEL_SERVING_TOKEN_FILE"}
    made = (DEPLOY / "first_run.sh").read_text(encoding="utf-8")
    assert [name for name, kind in found if kind == ":?" and name not in made] == []


def test_every_file_that_is_mounted_exists(services: dict[str, Any]) -> None:
    mounts = [v.split(":")[0] for s in services.values() for v in s.get("volumes", []) if v.startswith("./")]
    assert mounts
    assert [mount for mount in mounts if not (PROJECT / mount).exists()] == []


def test_configuration_files_can_be_read() -> None:
    for file in (*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.json")):
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        assert documents, file
        assert all(documents), file
    for script in DEPLOY.rglob("*.sh"):
        subprocess.run(["bash", "-n", str(script)], check=True)


@pytest.mark.slow
def test_the_first_run_makes_secrets_once(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY, tmp_path / "include" / "deploy")
    script = ["sh", str(tmp_path / "include" / "deploy" / "first_run.sh")]
    subprocess.run(script, check=True, capture_output=True)
    env = tmp_path / ".env"
    first = env.read_text(encoding="utf-8")
    said = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    assert env.read_text(encoding="utf-8") == first
    assert env.stat().st_mode & 0o077 == 0
    values = dict(line.split("=", 1) for line in first.splitlines())
    assert all(len(value) >= 40 for name, value in values.items() if name != "EVERMODEL_SERVED")
    assert len(set(values.values())) == len(values)
    assert not any(value in said for name, value in values.items() if name != "EVERMODEL_SERVED")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_compose_reads_the_file_and_refuses_to_start_without_secrets(tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path)
    shutil.copytree(DEPLOY, tmp_path / "include" / "deploy")
    config = ["docker-compose", "config", "--quiet"]
    env = {"PATH": os.environ["PATH"]}
    refused = subprocess.run(config, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "include/deploy/first_run.sh" in refused.stderr
    subprocess.run(["sh", "include/deploy/first_run.sh"], cwd=tmp_path, check=True, capture_output=True)
    subprocess.run(config, cwd=tmp_path, env=env, check=True, capture_output=True)
