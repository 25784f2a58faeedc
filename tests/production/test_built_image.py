"""The images as `.ci/image` has built them: their sizes, and the commands of docker-compose.yaml from their root file systems.

Each command runs as in its container: as the image's user, on a read-only root, with empty volumes and no capability.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from evermodel.cli.local_stack.ports import free_port
from production.topology import image_environment
from support.dockerfile import stages
from support.paths import PROJECT
from support.serving_models import wait_until

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]

ROOTS = PROJECT / "build" / "image"
MOST_BYTES = {"production": 2_550_000_000, "serving": 1_200_000_000}
PYTHON = "usr/local/lib"
# $1: root file system; then the command.
_IN_CONTAINER = """
set -e
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
for place in /tmp /opt/evermodel/data /opt/airflow/logs; do mount -t tmpfs -o uid=50000,gid=50000 none "$root$place"; done
mount -t proc none "$root/proc"
mount --rbind /dev "$root/dev"
mount -o remount,bind,ro "$root"
exec chroot --userspec=50000:50000 --groups= "$root" "$@"
"""


def root_of(stage: str) -> Path:
    root = ROOTS / stage
    assert root.is_dir(), f"build it first: .ci/image {ROOTS.relative_to(PROJECT)} {stage}"
    return root


def in_container(stage: str, *command: str, **env: str) -> list[str]:
    found = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        **image_environment(stage),
        # As docker-compose.yaml has them, but for servers.
        "AIRFLOW_HOME": "/tmp/airflow",
        "AIRFLOW__CORE__DAGS_FOLDER": "/opt/airflow/dags",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sqlite:////opt/evermodel/data/airflow.db",
        "EVERMODEL_DATA": "/opt/evermodel/data",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        **env,
    }
    pairs = [f"{name}={value}" for name, value in found.items()]
    inside = ["env", "-i", "-C", "/opt/airflow", *pairs, "tini", "-s", "--", *command]
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _IN_CONTAINER, "sh", str(root_of(stage)), *inside]  # fmt: skip


def run(stage: str, *command: str, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        in_container(stage, *command), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode in codes, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def size_of(root: Path) -> int:
    """Return the bytes of the files below a folder, each once."""
    files = {(found.st_dev, found.st_ino): found.st_blocks * 512
             for folder, _, names in os.walk(root) for name in names
             if (found := os.lstat(os.path.join(folder, name)))}  # fmt: skip
    return sum(files.values())


@pytest.mark.parametrize("stage", MOST_BYTES)
def test_its_size(stage: str, capsys: pytest.CaptureFixture[str]) -> None:
    size = size_of(root_of(stage))
    with capsys.disabled():
        print(f"\n{stage}: {size / 1e9:.2f} GB, at most {MOST_BYTES[stage] / 1e9:.2f} GB")
    assert size <= MOST_BYTES[stage]


@pytest.mark.parametrize("stage", MOST_BYTES)
def test_nothing_of_the_machine_that_built_it_is_inside(stage: str) -> None:
    root = root_of(stage)
    for name in ("etc/pip.conf", "etc/uv/uv.toml", "root/.config/pip/pip.conf"):
        file = root / name
        assert not file.exists() or file.stat().st_size == 0, f"{name} is in the image"
    machine = Path("/etc/pip.conf")
    for secret in re.findall(r"://([^/\s@]+)@", machine.read_text() if machine.exists() else ""):
        found = subprocess.run(
            ["grep", "-rlF", secret, str(root)], capture_output=True, text=True, check=False
        )
        assert found.stdout == ""


@pytest.mark.parametrize("stage", MOST_BYTES)
def test_it_runs_as_a_number_that_is_not_root(stage: str) -> None:
    assert re.findall(r"^USER (.+)$", stages()[stage], re.M) == ["50000:50000"]
    assert run(stage, "id", "-u").strip() == "50000"
    refused = run(
        stage, "sh", "-c", "touch /opt/airflow/x; touch /opt/evermodel/data/x && echo written", codes=(0,)
    )
    assert refused == "written\n"
    assert not (root_of(stage) / "opt/airflow/x").exists()


def test_airflow_knows_its_version_and_reads_every_dag() -> None:
    assert run("production", "airflow", "version").strip().startswith("3.")
    script = "airflow db migrate && airflow dag-processor --num-runs 1 && airflow dags list --output json > /tmp/dags && "
    told = run("production", "bash", "-c", f"{{ {script} airflow dags list-import-errors --output json >/tmp/errors; }} >/tmp/log 2>&1 "
               "|| cat /tmp/log /tmp/errors; cat /tmp/dags")  # fmt: skip
    known = {dag["dag_id"] for dag in json.loads(told.strip().splitlines()[-1])}
    assert {"retrain_flights", "drift_flights", "score_flights", "rollout_flights"} <= known, told


@pytest.mark.parametrize(
    ("stage", "checks"),
    [("production", ("versions", "specs", "lake", "database")), ("serving", ("database",))],
)
def test_the_doctor_finds_nothing_missing(stage: str, checks: tuple[str, ...]) -> None:
    only = [word for check in checks for word in ("--only", check)]
    found = json.loads(run(stage, "evermodel", "doctor", "--json", *only))
    assert found["ok"], found
    assert found["checks"]


def test_serving_has_no_airflow_and_what_any_model_needs() -> None:
    """A version with a graph, one without, a lake in a bucket, and PostgreSQL."""
    code = (
        "import importlib.util as u; import obstore, onnxruntime, psycopg, skops, sklearn; "
        "print([n for n in ('airflow', 'mlflow', 'dvc', 'evidently', 'celery') if u.find_spec(n)])"
    )
    assert run("serving", "python", "-c", code) == "[]\n"


@contextmanager
def serving(stage: str) -> Iterator[str]:
    port = free_port()
    command = in_container(stage, "evermodel", "serve", "flights", "--host", "127.0.0.1", "--port", str(port))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.kill()
        process.wait(60)


def answer(url: str) -> int:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code
    except httpx.HTTPError:
        return 0


@pytest.mark.parametrize("stage", MOST_BYTES)
def test_serving_answers_and_waits_for_its_first_model(stage: str) -> None:
    with serving(stage) as url:
        wait_until(lambda: answer(f"{url}/health") == 200, "the app answers", seconds=120)
        assert answer(f"{url}/ready") == 503
