"""The image has what runs in it, may write where volumes are mounted, and leaves out the rest."""

from __future__ import annotations

import fnmatch
import re
import tomllib

import yaml

from support.dockerfile import stages
from support.paths import PROJECT

NEEDED = ("dags", "plugins", "include", "pyproject.toml", "README.md", "LICENSE")
REQUIREMENTS = ("requirements.txt", "requirements-production.txt", "packages.txt")


def _ignored(name: str) -> bool:
    lines = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return any(fnmatch.fnmatch(name, line) for line in lines if line and not line.startswith("#"))


def test_the_folder_of_every_volume_is_made_for_the_user() -> None:
    stage = stages()["production"]
    lines = stage.replace("\\\n", "")
    made = re.search(r"mkdir -p ((?:/\S+ +)+)&& chown -R evermodel:evermodel ((?:/\S+ ?)+)", lines)
    assert made is not None
    file = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text(encoding="utf-8"))
    ours = [service for service in file["services"].values() if "build" in service]
    mounts = [
        volume for service in ours for volume in service.get("volumes", []) if not volume.startswith("./")
    ]
    folders = {volume.rpartition(":")[2] for volume in mounts}
    data = "/opt/evermodel/data"
    assert folders == {data, "/opt/airflow/logs"}
    assert set(made[1].split()) == {"/opt/airflow/logs", f"{data}/home", f"{data}/tmp"}
    assert all(folder.startswith(tuple(made[2].split())) for folder in folders)


def test_the_image_leaves_out_what_it_does_not_need() -> None:
    assert [name for name in (*NEEDED, *REQUIREMENTS) if _ignored(name)] == []
    left_out = ("tests", "docs", "benchmarks", ".git", ".env", ".secrets")
    assert [name for name in left_out if not _ignored(name)] == []
    built = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = built["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    files = [*packages, built["project"]["readme"], *built["project"]["license-files"]]
    assert {file.split("/")[0] for file in files} <= set(NEEDED)


def test_the_image_has_the_executors_of_compose_and_of_kubernetes() -> None:
    pinned = (PROJECT / "requirements-production.txt").read_text(encoding="utf-8")
    for package in (
        "apache-airflow-providers-celery",
        "apache-airflow-providers-cncf-kubernetes",
        "kubernetes",
    ):
        assert re.search(rf"^{package}==\d", pinned, re.M), package


def test_ci_says_which_commit_it_builds_and_pushes_none_of_a_pull_request() -> None:
    flow = yaml.safe_load((PROJECT / ".github" / "workflows" / "image.yml").read_text(encoding="utf-8"))
    steps = {step["uses"].split("@")[0]: step for step in flow["jobs"]["build"]["steps"]}
    build = steps["docker/build-push-action"]["with"]
    assert build["target"] == "${{ matrix.target }}"
    made = [image["target"] for image in flow["jobs"]["build"]["strategy"]["matrix"]["include"]]
    assert made == ["production", "serving"]
    for stage in made:
        assert 'ARG EVERMODEL_COMMIT=""\nENV EVERMODEL_COMMIT=$EVERMODEL_COMMIT' in stages()[stage]
    assert build["build-args"] == "EVERMODEL_COMMIT=${{ github.sha }}"
    assert build["push"] == "${{ github.event_name != 'pull_request' }}"
    assert steps["docker/login-action"]["if"] == "github.event_name != 'pull_request'"
    # YAML reads the key `on` as true.
    watched = flow[True]["pull_request"]["paths"]
    assert {"Dockerfile", ".dockerignore", "docker-compose.yaml", "requirements-production.txt"} <= set(
        watched
    )
    assert [path for path in watched if not (PROJECT / path).exists()] == []
