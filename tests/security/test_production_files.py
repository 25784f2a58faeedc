"""The inner walls of docker-compose.yaml and include/deploy: rights, networks, logins; tried for real where no container is needed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from evermodel.cli.local_stack.ports import free_port
from evermodel.core.database.tables import metadata
from evermodel.core.logins import split_login
from evermodel.core.settings import Settings
from evermodel.core.storage import files_in
from evermodel.registry.audit import audit, read_audit_log
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.serving_heartbeats import ServingReport
from evermodel.registry.serving_reports import ServingReports
from evermodel.registry.tracking import connect
from evermodel.serving.auth import Tokens
from support.airflow_runs import claim_airflow_home
from support.mlflow_server import wait_for_mlflow
from support.object_stores import s3_environment
from support.paths import PROJECT
from support.postgres_server import USER, postgres_server, server_programs
from support.serving_models import SPEC, World, wait_until

claim_airflow_home()

DEPLOY = PROJECT / "include" / "deploy"
SECRET = re.compile(r"\$\{(\w*(?:PASSWORD|SECRET|TOKEN|KEY)\w*):\?")
SECRET_VALUE = re.compile(rf"{SECRET.pattern}[^}}]*\}}")


@pytest.fixture(scope="module")
def file() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def services(file: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = file["services"]
    return found


def test_every_container_has_a_read_only_root_no_capability_and_no_way_to_more(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert "/tmp" in service["tmpfs"], name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"cap_add", "privileged", "pid", "network_mode", "ipc"} & service.keys(), name
        assert not any("docker.sock" in str(volume) for volume in service.get("volumes", [])), name


def test_every_container_runs_as_a_numbered_user_that_is_not_root(services: dict[str, Any]) -> None:
    users = {name: service.get("user", "") for name, service in services.items()}
    # The image's volume belongs to root; without a capability it is root in name only.
    assert users.pop("storage") == ""
    for name, user in users.items():
        assert re.fullmatch(r"[1-9]\d*:\d+", user), name


def test_who_may_talk_to_whom(file: dict[str, Any], services: dict[str, Any]) -> None:
    networks = {name: set(service["networks"]) for name, service in services.items()}
    assert set().union(*networks.values()) == file["networks"].keys()
    met = {name for name in services if networks[name] & networks["serving"]}
    assert not met & {"redis", "grafana", "statsd", "evidently"}
    assert {name for name in services if networks[name] & networks["evidently"]} == {"evidently", "storage"}
    assert {name for name in services if "database" in networks[name]} == {
        "postgres",
        "serving",
        "mlflow",
        *(name for name in services if name.startswith("airflow")),
    }
    assert networks["postgres"] == {"database"}
    assert {"database", "storage"} == {n for n, net in file["networks"].items() if net.get("internal")}


def test_each_service_holds_its_own_secrets_only(services: dict[str, Any]) -> None:
    held = {name: set(SECRET.findall(str(service))) for name, service in services.items()}
    tokens = {"EVERMODEL_SERVING_TOKEN", "SERVING_AIRFLOW_TOKEN", "SERVING_PROMETHEUS_TOKEN"}
    assert held["serving"] == {"MLFLOW_SERVING_PASSWORD", "SERVING_DB_PASSWORD", "S3_SERVING_KEY", *tokens}
    assert held["prometheus"] == held["statsd"] == set()
    assert held["evidently"] == {"S3_EVIDENTLY_KEY"}
    assert held["storage-init"] == {"S3_SECRET_KEY"}
    assert held["storage"] == {"S3_SECRET_KEY", "S3_SERVING_KEY", "S3_EVIDENTLY_KEY"}
    assert held["mlflow"] == {"MLFLOW_PASSWORD", "MLFLOW_SECRET_KEY", "MLFLOW_DB_PASSWORD", "S3_SECRET_KEY"}
    holders = {secret: {n for n in services if secret in held[n]} for secret in set().union(*held.values())}
    assert holders["POSTGRES_PASSWORD"] == {"postgres"}
    assert holders["MLFLOW_PASSWORD"] == {"mlflow", "mlflow-init"}
    assert holders["MLFLOW_DB_PASSWORD"] == {"mlflow", "postgres"}
    airflows = {name for name in services if name.startswith("airflow-")}
    assert holders["EVERMODEL_DB_PASSWORD"] == holders["AIRFLOW_DB_PASSWORD"] == {"postgres", *airflows}
    assert holders["SERVING_DB_PASSWORD"] == {"postgres", "serving"}
    assert holders["EVERMODEL_SERVING_TOKEN"] == holders["SERVING_PROMETHEUS_TOKEN"] == {"serving"}
    assert holders["SERVING_AIRFLOW_TOKEN"] == {"serving", *(n for n in services if n.startswith("airflow-"))}
    for name in (name for name in services if name.startswith("airflow-")):
        assert held[name].isdisjoint({"MLFLOW_DB_PASSWORD", "POSTGRES_PASSWORD", "MLFLOW_SERVING_PASSWORD"})


def test_one_login_for_each_service(services: dict[str, Any]) -> None:
    logins = {name: service["environment"].get("MLFLOW_TRACKING_USERNAME") for name, service in
              services.items() if "environment" in service}  # fmt: skip
    assert logins["serving"] == "serving"
    assert {logins[name] for name in services if name.startswith("airflow-")} == {"airflow"}
    assert [name for name, login in logins.items() if login == "evermodel"] == ["mlflow-init"]


def test_airflow_s_and_prometheus_token_get_no_prediction(services: dict[str, Any]) -> None:
    given = services["serving"]["environment"]["EVERMODEL_SERVING_TOKENS"]
    tokens = Tokens.from_environment({"EVERMODEL_SERVING_TOKENS": SECRET_VALUE.sub(r"value-of-\1", given)})
    assert tokens is not None
    rights = {}
    for name in ("EVERMODEL_SERVING_TOKEN", "SERVING_AIRFLOW_TOKEN", "SERVING_PROMETHEUS_TOKEN"):
        caller = tokens.caller(f"value-of-{name}".encode())
        assert caller is not None
        rights[name] = [right for right in ("admin", "predict:flights") if caller.may(right)]
    assert rights.pop("EVERMODEL_SERVING_TOKEN") == ["admin", "predict:flights"]
    assert set(map(tuple, rights.values())) == {("admin",)}
    sent = services["airflow-worker"]["environment"]["EVERMODEL_SERVING_TOKEN"]
    assert sent.startswith("${SERVING_AIRFLOW_TOKEN:?")


def test_prometheus_sends_its_own_token(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY, tmp_path / "include" / "deploy")
    script = ["sh", str(tmp_path / "include" / "deploy" / "first_run.sh")]
    (tmp_path / ".env").write_text("EVERMODEL_SERVING_TOKEN=of a release without separate tokens\n")
    subprocess.run(script, check=True, capture_output=True)
    values = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    assert values["EVERMODEL_SERVING_TOKEN"] == "of a release without separate tokens"
    sent = (tmp_path / ".secrets" / "serving_token").read_text().strip()
    assert sent == values["SERVING_PROMETHEUS_TOKEN"]
    assert len({sent, values["SERVING_AIRFLOW_TOKEN"], values["EVERMODEL_SERVING_TOKEN"]}) == 3


def folders(service: dict[str, Any]) -> dict[str, str]:
    """Return the folder that each named volume of a service is mounted at; `:ro` stays."""
    return dict(volume.split(":", 1) for volume in service.get("volumes", []) if ":" in volume)


def test_no_two_services_share_a_folder_that_one_of_them_writes(
    file: dict[str, Any], services: dict[str, Any]
) -> None:
    written = [
        name
        for service in services.values()
        for name, place in folders(service).items()
        if not place.endswith(":ro")
    ]
    assert sorted(written) == sorted(file["volumes"])
    home = services["serving"]["environment"]["EVERMODEL_HOME"]
    assert home.startswith(folders(services["serving"])["serving"] + "/")
    for name in ("EVERMODEL_LAKE", "EVERMODEL_EVIDENTLY_WORKSPACE", "EVERMODEL_DATA", "EVERMODEL_DVC_REMOTE"):
        assert {service["environment"][name].split(":")[0] for service in services.values()
                if name in service.get("environment", {})} == {"s3"}  # fmt: skip
    values = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text(encoding="utf-8"))
    assert not any("persistentVolumeClaim" in volume for volume in values.get("volumes", []))


def test_the_store_knows_each_user_for_its_bucket_alone(tmp_path: Path) -> None:
    script = (
        (DEPLOY / "storage.sh").read_text(encoding="utf-8").replace("/tmp/s3.json", f"{tmp_path}/s3.json")
    )
    keys = {f"S3_{name}_KEY": f"of {name}" for name in ("SECRET", "SERVING", "EVIDENTLY")}
    weed = tmp_path / "weed"
    weed.write_text('#!/bin/sh\necho "$@"\n')
    weed.chmod(0o755)
    started = subprocess.run(["sh", "-c", script], env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **keys},
                             capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert "-ip.bind=127.0.0.1 -s3.ip.bind=0.0.0.0" in started, "the filer asks nobody who they are"
    users = {one["name"]: one for one in json.loads((tmp_path / "s3.json").read_text())["identities"]}
    assert {user["credentials"][0]["secretKey"] for user in users.values()} == set(keys.values())
    for name, bucket in (("serving", "lake"), ("evidently", "evidently")):
        assert {action.partition(":")[2] for action in users[name]["actions"]} == {bucket}


def test_evidently_is_open_to_this_machine_alone(services: dict[str, Any]) -> None:
    assert services["evidently"]["ports"] == ["127.0.0.1:8001:8001"]


def test_pods_have_the_same_walls() -> None:
    values = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text(encoding="utf-8"))
    assert values["securityContexts"]["pod"]["runAsNonRoot"] is True
    assert values["securityContexts"]["pod"]["runAsUser"] > 0
    assert values["securityContexts"]["containers"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


# PostgreSQL, for real.


@pytest.mark.skipif(server_programs() is None, reason="PostgreSQL's server is not installed")
def test_no_service_opens_the_database_of_another_and_serving_only_its_tables(tmp_path: Path) -> None:
    import psycopg2

    users = ("airflow", "evermodel", "mlflow", "serving")
    passwords = {f"{user.upper()}_DB_PASSWORD": f"of {user}" for user in users}
    programs = server_programs()
    with postgres_server() as address:
        port = str(urlsplit(address).port)

        def psql(command: list[str], **more: str) -> None:
            env = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": port, **passwords, **more}
            env["PATH"] = f"{programs}{os.pathsep}{env['PATH']}"
            subprocess.run(command, env=env, check=True, capture_output=True)

        psql(["psql", "-U", USER, "-d", "postgres", "-c", "CREATE ROLE postgres SUPERUSER LOGIN"])
        script = ["sh", str(DEPLOY / "postgres" / "databases.sh")]
        psql(script, PGDATABASE="postgres")
        psql(script, PGDATABASE="postgres")  # again, as an upgrade does

        def opens(user: str, database: str) -> bool:
            try:
                psycopg2.connect(host="127.0.0.1", port=port, user=user, dbname=database).close()
            except psycopg2.OperationalError as error:
                return "permission denied for database" not in str(error)
            return True

        rights = {(user, name): opens(user, name) for user in users
                  for name in ("airflow", "evermodel", "mlflow", "mlflow_auth")}  # fmt: skip
        assert [pair for pair, allowed in rights.items() if allowed] == [
            ("airflow", "airflow"),
            ("evermodel", "evermodel"),
            ("mlflow", "mlflow"),
            ("mlflow", "mlflow_auth"),
            ("serving", "evermodel"),
        ]
        with psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres") as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolpassword FROM pg_authid "
                           "WHERE rolname IN ('airflow', 'evermodel', 'mlflow', 'serving') ORDER BY 1")  # fmt: skip
            roles = cursor.fetchall()
        assert [role[:4] for role in roles] == [(user, False, False, False) for user in users]
        assert len({role[4] for role in roles}) == len(users)

        def address(user: str) -> str:
            return f"postgresql://{user}:not-asked-for@127.0.0.1:{port}/evermodel"

        rights_of_serving = [sys.executable, str(DEPLOY / "postgres" / "serving_rights.py")]
        for _ in range(2):
            psql(rights_of_serving, EVERMODEL_DATABASE=address("evermodel"))
        reports, at = ServingReports(address("serving"), tmp_path), datetime.now(UTC).isoformat()
        reports.write(ServingReport("flights", "web-1-7-a", "prod", "web-1", 7, at, at, "3"))
        assert (len(reports.live("flights")), list(reports.served("flights")), reports.clear()) == (
            1,
            ["3"],
            0,
        )
        looked_up = {"evermodel_online_part", "evermodel_online_value"}
        with psycopg2.connect(address("serving")) as connection:
            for table in set(metadata.tables) - {"evermodel_serving_report", "evermodel_served_version"}:
                cursor = connection.cursor()
                cursor.execute("SELECT p FROM unnest(%s) AS p WHERE has_table_privilege(%s, p)",
                               (["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"], table))  # fmt: skip
                assert cursor.fetchall() == ([("SELECT",)] if table in looked_up else []), table


# MLflow, for real.


@pytest.fixture(scope="module")
def mlflow_with_logins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with the committed basic_auth.ini, on SQLite, whose logins the committed script has made."""
    folder = tmp_path_factory.mktemp("logins")
    text = (DEPLOY / "mlflow" / "basic_auth.ini").read_text(encoding="utf-8")
    logins, said = re.subn(r"(?m)^database_uri = .*$", f"database_uri = sqlite:///{folder}/auth.db", text)
    assert said == 1
    (folder / "auth.ini").write_text(logins)
    url = f"http://127.0.0.1:{free_port()}"
    passwords = {f"MLFLOW_{name}_PASSWORD": f"password of {name}" for name in ("AIRFLOW", "SERVING")}
    env = {
        **os.environ,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": "evermodel",
        "MLFLOW_AUTH_ADMIN_PASSWORD": "password of people",
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for a test",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--app-name=basic-auth", "--workers=1",
               "--host=127.0.0.1", f"--port={urlsplit(url).port}", f"--backend-store-uri=sqlite:///{folder}/mlflow.db",
               f"--artifacts-destination={folder}/artifacts"]  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for_mlflow(url, server, folder / "log")
        admin = {"MLFLOW_TRACKING_URI": url, "MLFLOW_TRACKING_USERNAME": "evermodel",
                 "MLFLOW_TRACKING_PASSWORD": "password of people"}  # fmt: skip
        for _ in range(2):
            made = [sys.executable, str(DEPLOY / "mlflow" / "logins.py")]
            done = subprocess.run(
                made, env={**env, **admin, **passwords}, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert "password" not in done.stdout
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


def login(url: str, name: str) -> httpx.Client:
    return httpx.Client(
        base_url=f"{url}/api/2.0", auth=(name, f"password of {name.upper()}"), trust_env=False, timeout=30
    )


@pytest.mark.parametrize("name", ["airflow", "serving"])
def test_a_login_is_told_that_a_model_has_no_champion_before_its_first_retrain(
    mlflow_with_logins: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", f"password of {name.upper()}")
    client = connect(mlflow_with_logins)

    assert ModelRegistry(client).at_alias("unborn", "champion") is None
    assert not ModelRegistry(client).read("unborn").born
    if name == "airflow":
        audit(client, "waiver", "unborn", by="ada")
        assert [entry["event"] for entry in read_audit_log(client, "unborn").entries()] == ["waiver"]


def test_the_test_of_a_connection_says_whether_its_password_holds(
    mlflow_with_logins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evermodel_provider.hooks.tracking import TrackingHook

    found = []
    for password in ("password of AIRFLOW", "another"):
        fields = {
            "conn_type": "mlflow",
            "host": mlflow_with_logins,
            "login": "airflow",
            "password": password,
        }
        monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", json.dumps(fields))
        found.append(TrackingHook().test_connection()[0])
    split_login(mlflow_with_logins, forget=True)  # other tests of this process have logins of their own
    assert found == [True, False]


def test_serving_s_login_reads_everything_and_changes_nothing(mlflow_with_logins: str) -> None:
    airflow, serving = login(mlflow_with_logins, "airflow"), login(mlflow_with_logins, "serving")
    experiment = airflow.post("/mlflow/experiments/create", json={"name": "flights"}).json()["experiment_id"]
    run = airflow.post("/mlflow/runs/create", json={"experiment_id": experiment}).json()["run"]["info"]
    folder = f"/mlflow-artifacts/artifacts/{experiment}/{run['run_id']}/artifacts"
    model, made = {"name": "flights"}, []
    made.append(airflow.post("/mlflow/registered-models/create", json=model))
    version = {**model, "source": run["artifact_uri"], "run_id": run["run_id"]}
    made.append(airflow.post("/mlflow/model-versions/create", json=version))
    champion = {**model, "alias": "champion", "version": "1"}
    made.append(airflow.post("/mlflow/registered-models/alias", json=champion))
    made.append(airflow.put(f"{folder}/model.txt", content=b"bytes"))
    assert [answer.status_code for answer in made] == [200] * 4, [answer.text for answer in made]

    for read in (
        serving.get("/mlflow/registered-models/get", params=model),
        serving.get("/mlflow/registered-models/alias", params={**model, "alias": "champion"}),
        serving.get("/mlflow/model-versions/get", params={**model, "version": "1"}),
        serving.get("/mlflow/model-versions/get-download-uri", params={**model, "version": "1"}),
        serving.get("/mlflow/runs/get", params={"run_id": run["run_id"]}),
        serving.get("/mlflow/artifacts/list", params={"run_id": run["run_id"]}),
    ):
        assert read.status_code == 200, (read.url, read.text)
    assert serving.get(f"{folder}/model.txt").content == b"bytes"

    tag = {"key": "evermodel.promotion.x", "value": "{}"}
    for write in (
        serving.post("/mlflow/registered-models/alias", json=champion),
        serving.request("DELETE", "/mlflow/registered-models/alias", params=champion),
        serving.post("/mlflow/registered-models/set-tag", json={**model, **tag}),
        serving.post("/mlflow/model-versions/set-tag", json={**model, **tag, "version": "1"}),
        serving.post("/mlflow/model-versions/create", json=version),
        serving.request("DELETE", "/mlflow/registered-models/delete", json=model),
        serving.post("/mlflow/runs/create", json={"experiment_id": experiment}),
        serving.post("/mlflow/runs/set-tag", json={"run_id": run["run_id"], **tag}),
        serving.post("/mlflow/runs/log-parameter", json={"run_id": run["run_id"], "key": "1", "value": "x"}),
        serving.put(f"{folder}/model.txt", content=b"others"),
        serving.request("DELETE", f"{folder}/model.txt"),
        serving.post("/mlflow/users/create", json={"username": "eve", "password": "long enough"}),
        serving.patch("/mlflow/users/update-admin", json={"username": "serving", "is_admin": True}),
        airflow.patch("/mlflow/users/update-admin", json={"username": "airflow", "is_admin": True}),
        airflow.patch("/mlflow/users/update-password", json={"username": "evermodel", "password": "x" * 12}),
    ):
        assert write.status_code == 403, (write.request.method, write.url, write.status_code, write.text)
    assert serving.get(f"{folder}/model.txt").content == b"bytes"


def test_without_a_login_mlflow_answers_nothing(mlflow_with_logins: str) -> None:
    search = f"{mlflow_with_logins}/api/2.0/mlflow/registered-models/search"
    assert httpx.get(search, trust_env=False).status_code == 401
    assert httpx.get(search, auth=("serving", "wrong"), trust_env=False).status_code == 401


def test_a_server_that_may_only_read_says_once_that_its_place_is_not_published(
    mlflow_with_logins: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from evermodel.serving.heartbeat import LocationPublisher, Process

    airflow = login(mlflow_with_logins, "airflow")
    airflow.post("/mlflow/registered-models/create", json={"name": "placed"})
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "serving")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "password of SERVING")
    settings = Settings.from_environment(
        {"EVERMODEL_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": mlflow_with_logins}
    )
    process, now = Process("test"), datetime.now(UTC)
    at = now.isoformat()
    report = ServingReport("placed", process.instance, "test", process.host, process.pid, at, at, "1")
    ServingReports.of(settings).write(report)
    caplog.set_level("INFO", "evermodel.serving")
    publisher = LocationPublisher(process, ["placed"], settings)
    for _ in range(2):
        publisher.publish(now)
    assert len(caplog.messages) == 1
    assert "event=announce_refused" in caplog.messages[0]
    found = airflow.get("/mlflow/registered-models/get", params={"name": "placed"}).json()
    assert "tags" not in found["registered_model"]


# The read-only root, for real: a mount namespace in which only the folders of the container's tmpfs and volumes are writable.

_READ_ONLY = """
mount --make-rprivate / || exit 77
for place in $0; do mount --bind "$place" "$place" || exit 77; kept="$kept -e ^$place"; done
awk '{print $2}' /proc/self/mounts | grep -v $kept -e ^/proc -e ^/dev -e ^/sys | sort -u |
    while read -r place; do mount -o remount,bind,ro "$place" 2>/dev/null; done
touch "${0%% *}/../written" 2>/dev/null && exit 78
exec "$@"
"""


@pytest.fixture
def root_disk() -> Iterator[Path]:
    """A folder on the disk of the root, which a folder for temporary files need not be."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("only root can make a mount namespace")
    folder = tempfile.mkdtemp(dir="/var/tmp")
    yield Path(folder)
    shutil.rmtree(folder)


def read_only(*writable: Path) -> list[str]:
    """Return the start of a command that runs where nothing but some folders can be written."""
    return ["unshare", "--mount", "sh", "-c", _READ_ONLY, " ".join(map(str, writable))]


@pytest.mark.slow
@pytest.mark.parametrize("command", [["airflow", "db", "migrate"], ["evidently", "ui", "--help"]])
def test_commands_run_with_a_read_only_root(
    services: dict[str, Any], root_disk: Path, command: list[str]
) -> None:
    given = services["airflow-scheduler"]["environment"]
    names = ("HOME", "AIRFLOW_HOME", "DVC_SITE_CACHE_DIR", "AIRFLOW__LOGGING__BASE_LOG_FOLDER",
             "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY")  # fmt: skip
    folder = root_disk / "writable"
    folder.mkdir()
    places = {
        name: given[name].replace("/tmp", str(folder)).replace("/opt/airflow", str(folder)) for name in names
    }
    env = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "TMPDIR": str(folder),
        "AIRFLOW__CORE__AUTH_MANAGER": given["AIRFLOW__CORE__AUTH_MANAGER"],
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONDONTWRITEBYTECODE": "1",
        **places,
    }
    namespace = read_only(folder) + command
    done = subprocess.run(namespace, env=env, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode in (1, 77) and "unshare" in done.stderr:
        pytest.skip("this kernel allows no mount namespace")
    assert done.returncode == 0, done.stderr[-2000:]


def test_serving_answers_logs_and_reports_with_its_volumes_alone(
    services: dict[str, Any],
    root_disk: Path,
    mlflow_server: str,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def place(path: str) -> Path:
        return Path(path.replace("/opt/evermodel/data", f"{root_disk}/data"))

    models, scratch = root_disk / "models", root_disk / "tmp"
    for made in (models, scratch):
        made.mkdir()
    (models / "walled.yaml").write_text(SPEC.format(name="walled"))
    given = services["serving"]["environment"]
    where = {
        "EVERMODEL_HOME": str(place(given["EVERMODEL_HOME"])),
        "EVERMODEL_LAKE": given["EVERMODEL_LAKE"],
        **s3_environment(s3_endpoint),
        "EVERMODEL_MODELS": str(models),
        "EVERMODEL_DATABASE": f"sqlite:///{scratch}/evermodel.db",  # which is over the network in the container
        "MLFLOW_TRACKING_URI": mlflow_server,
    }
    for name, value in s3_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    httpx.put(f"{s3_endpoint}/lake", trust_env=False).raise_for_status()
    settings = Settings.from_environment(where)
    version = World(settings, "walled", connect(mlflow_server)).publish(1).version
    volumes = [place(v) for v in folders(services["serving"]).values() if not v.endswith(":ro")]
    for folder in volumes:
        folder.mkdir(parents=True)
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "evermodel.cli", "serve", "walled", "--port", str(urlsplit(url).port)]
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(scratch), "HOME": str(scratch), **where}
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(
            [*read_only(*volumes, scratch), *command], env=environment, stdout=log, stderr=log
        )
    said = scratch / "log"
    try:
        wait_until(lambda: _is_ready(url) or process.poll() is not None, "it is ready", seconds=120)
        if process.poll() == 77:
            pytest.skip("this kernel allows no mount namespace")
        row = {"temp": 1.0, "wind": None, "carrier": "AA"}
        answer = httpx.post(f"{url}/predict", json={"rows": [row]}, trust_env=False, timeout=30)
        assert answer.json()["version"] == version, said.read_text()
    finally:
        process.terminate()
        assert process.wait(60) in (0, -signal.SIGTERM, 77), said.read_text()
    assert files_in(settings.lake, "predictions/walled/date=*/source=online/*.parquet"), said.read_text()
    reports = ServingReports.of(settings)
    assert [one.stopped for one in reports.read("walled").gone] == [True], said.read_text()
    assert list(reports.served("walled")) == ["1"]
    assert (settings.model_cache / "walled" / version / "MLmodel").is_file()
    assert "failed" not in said.read_text()
    assert "Read-only" not in said.read_text()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/ready", trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
