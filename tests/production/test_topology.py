"""The topology of docker-compose.yaml works, and whatever is killed in it, the registry and the messages end up right."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from evermodel.cli.local_stack.airflow_api import AirflowApi
from evermodel.core.atomic import replacing
from evermodel.core.errors import EvermodelError
from evermodel.core.storage import readable, storage_path
from evermodel.data.prediction_log import files_of, log_of, read_log
from evermodel.data.table_file import TableFile
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tracking import connect
from evermodel.spec.window import Window
from production.topology import Topology
from support.airflow_runs import answer_approval
from support.flights import World, flights_world
from support.paths import PROJECT, SAMPLE
from support.slack_server import FakeSlack

pytestmark = [pytest.mark.production, pytest.mark.timeout(900)]

MODEL = "late"
FIRST = datetime(2013, 3, 11, 6, tzinfo=UTC)
WATCHED = datetime(2013, 3, 18, 4, tzinfo=UTC)
# Shorter than in the file, so that the test waits for seconds where people would wait for minutes.
SHORT = {
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    # Two tries more have to outlast the start of what was killed, as five minutes each do in the file.
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "3",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
    # A task that a worker had been handed, and not begun, when it died.
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "90",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "15",
    "AIRFLOW__API__WORKERS": "1",
    "OMP_NUM_THREADS": "1",
}


class House:
    """The running topology, with one model on the sample."""

    def __init__(self, topology: Topology, world: World, slack: FakeSlack, api: AirflowApi) -> None:
        self.topology, self.world, self.slack, self.api = topology, world, slack, api
        self.retrain = f"retrain_{MODEL}"

    @property
    def client(self) -> Any:
        return connect(self.world.settings.tracking_uri)

    def versions(self) -> int:
        return len(self.client.search_model_versions(f"name = '{MODEL}'"))

    @property
    def serves(self) -> bool:
        return ModelRegistry(self.client).read(MODEL).champion is not None

    def champion(self) -> str:
        return str(ModelRegistry(self.client).champion(MODEL).version)

    def wait_for_task(self, dag: str, run: str, task: str, state: str, seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while not any(
            t["task_id"] == task and t["state"] == state for t in self.api.task_instances(dag, run)
        ):
            assert time.monotonic() < deadline, f"{task} was not {state}: {self.api.explain(dag, run)}"
            time.sleep(0.2)

    def finish(self, dag: str, run: str) -> None:
        found = self.api.wait(dag, run, timeout=600)
        assert found["state"] == "success", self.api.explain(dag, run)

    def messages_about(self, words: str) -> list[Any]:
        return [m for m in self.slack.messages if words in m.text or words in str(m.blocks)]


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that PostgreSQL's own user gets to; not pytest's, which every session of pytest closes to others."""
    made = Path(tempfile.mkdtemp(prefix="evermodel-production-"))
    made.chmod(0o755)
    yield made
    if not request.session.testsfailed:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[House]:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can give each service a mount namespace of its own")
    world = flights_world(folder / "world", "", name=MODEL)
    specs = world.settings.models / f"{MODEL}.yaml"
    specs.write_text(specs.read_text().replace(str(folder / "world" / "data"), "${EVERMODEL_DATA}"))
    os.environ["EVERMODEL_DATA"] = "s3://input"
    world.change(
        cluster="row",
        schedule={"retrain": None, "score": None, "drift": None},
        resources={"training": {"queue": "training", "pool": "evermodel_training"}},
        retrain={"when": "never"},
    )
    with FakeSlack() as slack:
        extras = {
            **SHORT,
            "AIRFLOW_CONN_SLACK_API_DEFAULT": slack.connection_json(),
        }
        with Topology(folder / "top", world.settings.models, MODEL, extras) as topology:
            mlflow, store = topology.url("mlflow", 5000), topology.containers["airflow-worker"].env
            os.environ.update({name: value for name, value in store.items() if name.startswith("AWS_")})
            lake = storage_path(store["EVERMODEL_LAKE"], "EVERMODEL_LAKE")
            storage_path("s3://input/flights.parquet", "the example").upload(SAMPLE)
            world.settings = world.settings.model_copy(update={"lake": lake, "tracking_uri": mlflow})
            os.environ["MLFLOW_TRACKING_USERNAME"] = "evermodel"
            os.environ["MLFLOW_TRACKING_PASSWORD"] = topology.secrets["MLFLOW_PASSWORD"]
            api = _signed_in(topology)
            api.wait_for_dags([f"retrain_{MODEL}", f"score_{MODEL}", f"drift_{MODEL}"], timeout=300)
            yield House(topology, world, slack, api)


def _signed_in(topology: Topology) -> AirflowApi:
    """Log in as the first-run script's user does."""
    url, deadline = topology.url("airflow-apiserver", 8080), time.monotonic() + 180
    login = {"username": "admin", "password": topology.secrets["AIRFLOW_ADMIN_PASSWORD"]}
    while True:
        try:
            answer = httpx.post(f"{url}/auth/token", json=login, timeout=30, trust_env=False)
            return AirflowApi(url, str(answer.raise_for_status().json()["access_token"]), timeout=60)
        except httpx.HTTPError:
            assert time.monotonic() < deadline, topology.log("airflow-apiserver")
            time.sleep(1)


def test_nobody_gets_in_without_a_login(house: House) -> None:
    airflow, mlflow = house.topology.url("airflow-apiserver", 8080), house.topology.url("mlflow", 5000)
    models = f"{mlflow}/api/2.0/mlflow/registered-models/search"
    assert httpx.get(f"{airflow}/api/v2/dags", trust_env=False).status_code == 401
    assert httpx.get(models, trust_env=False).status_code == 401
    assert httpx.get(models, auth=("evermodel", "guessed"), trust_env=False).status_code == 401


def test_a_retrain_with_approval_then_score_and_drift_on_two_workers(house: House) -> None:
    run = house.api.trigger(house.retrain, FIRST, {"approval": "manual", "reason": "first"})
    answer_approval(house.api, house.retrain, run, "Approve")
    house.finish(house.retrain, run)

    assert (house.champion(), house.versions()) == ("1", 1)
    (line,) = ModelRegistry(house.client).read(MODEL).promotions
    assert (line.by, line.reason) == ("admin", "first")
    queues = {task["task_id"]: task["queue"] for task in house.api.task_instances(house.retrain, run)}
    assert (queues["train"], queues["register"]) == ("training", "default")
    _until_served(house, "1")

    for day in range(12, 19):
        moment = datetime(2013, 3, day, 3, tzinfo=UTC)
        house.api.trigger(f"score_{MODEL}", moment, run_id=f"score-{day}")
    for day in range(12, 19):
        house.finish(f"score_{MODEL}", f"score-{day}")
    done = house.api.run(f"drift_{MODEL}", logical_date=WATCHED)
    assert house.api.xcom(f"drift_{MODEL}", done["dag_run_id"], "verdict")["rows"] > 100
    for worker in ("airflow-worker", "airflow-worker-training"):
        assert "succeeded in" in house.topology.log(worker, 2000), f"{worker} has done nothing"


def _until_served(house: House, version: str, seconds: float = 60) -> None:
    """Ask the serving app, with its token, until a version answers."""
    url = f"{house.topology.url('serving', 8000)}/models"
    token = {"Authorization": f"Bearer {house.topology.secrets['EVERMODEL_SERVING_TOKEN']}"}
    assert httpx.get(url, trust_env=False).status_code == 401
    deadline = time.monotonic() + seconds
    while (found := httpx.get(url, headers=token, trust_env=False).json()[0]["version"]) != version:
        assert time.monotonic() < deadline, f"version {found} answers: {house.topology.log('serving')}"
        time.sleep(0.5)


def test_no_two_processes_share_a_folder(house: House) -> None:
    running = [name for name, one in house.topology.containers.items() if one.disk and not one.once]
    assert {"serving", "mlflow", "airflow-worker", "airflow-worker-training"} <= set(running)
    folders = (
        house.topology.folder / "data",
        house.topology.site / "logs",
        *map(Path, ("/tmp", "/var/tmp", "/dev/shm")),
    )
    for name in running:
        for folder in folders:
            done = house.topology.run(name, "sh", "-c", f"echo {name} > {folder}/whose")
            assert done.returncode == 0, (name, folder, done.stderr)
    for name in running:
        for folder in folders:
            assert house.topology.run(name, "cat", f"{folder}/whose").stdout.strip() == name
        for folder in (house.topology.site, PROJECT, Path(sys.prefix), Path("/var/lib"), Path.home()):
            assert "Read-only" in house.topology.run(name, "touch", str(folder / "whose")).stderr, (
                name,
                folder,
            )


def test_a_worker_sees_what_serving_reports(house: House) -> None:
    if not house.serves:
        pytest.skip("nothing serves: run the whole file")
    done = house.topology.run("airflow-worker", "evermodel", "status", MODEL, "--json")
    places = json.loads(done.stdout)["places"]
    assert [(place["version"], place["pid"] is not None) for place in places] == [("1", True)], done.stderr


def test_a_served_prediction_is_logged_once_when_serving_dies(house: House) -> None:
    if not house.serves:
        pytest.skip("nothing serves: run the whole file")
    spec = house.world.spec
    rows = pq.read_table(SAMPLE).slice(0, 40).select(list(spec.features.names)).to_pylist()
    url, ids = f"{house.topology.url('serving', 8000)}/predict", [f"served-{n}" for n in range(40)]
    token = {"Authorization": f"Bearer {house.topology.secrets['EVERMODEL_SERVING_TOKEN']}"}
    for row, name in zip(rows, ids, strict=True):
        body = {"rows": [{**row, spec.id_column: name}]}
        httpx.post(url, json=body, headers=token, trust_env=False).raise_for_status()
    disk = house.topology.containers["serving"].disk
    assert disk is not None
    now = datetime.now(UTC)
    today = Window(
        now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1), now + timedelta(days=1)
    )

    def logged() -> list[str]:
        found: list[str] = read_log(spec, house.world.settings.lake, today)["prediction_id"].to_pylist()
        return found

    def written() -> set[str]:
        files = list(disk.glob("data/home/spool/**/*.parquet"))
        return {name for file in files for name in _ids(file)} | set(logged())

    _until(lambda: written() >= set(ids))
    starts = house.topology.containers["serving"].starts
    house.topology.kill("serving")
    _until_restarted(house, "serving", starts)
    _until(lambda: set(logged()) >= set(ids), seconds=150)
    assert sorted(logged()) == sorted(ids)
    _until_served(house, house.champion())


def _ids(file: Path) -> list[str]:
    try:
        found: list[str] = pq.read_table(file, columns=["prediction_id"], partitioning=None)[0].to_pylist()
    except FileNotFoundError:  # uploaded meanwhile
        return []
    return found


def test_each_row_is_scored_once_when_the_workers_die(house: House) -> None:
    dag, moment = f"score_{MODEL}", datetime(2013, 3, 19, 3, tzinfo=UTC)
    if not house.serves:
        pytest.skip("nothing serves: run the whole file")
    run = house.api.trigger(dag, moment, run_id="score-killed")
    house.wait_for_task(dag, run, "score", "running")
    for worker in ("airflow-worker", "airflow-worker-training"):
        house.topology.kill(worker)
    _finish_patiently(house, dag, run)
    whole = Window(datetime(2013, 3, 11, tzinfo=UTC), datetime(2013, 3, 19, tzinfo=UTC))
    logged = read_log(house.world.spec, house.world.settings.lake, whole)["prediction_id"].to_pylist()
    rows = pq.read_table(SAMPLE, filters=whole.filter("scheduled_at"))
    assert sorted(logged) == sorted(rows["flight_id"].to_pylist())


def _until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


KILLED = ["airflow-worker-training", "airflow-scheduler", "mlflow", "postgres"]


@pytest.mark.parametrize("number", range(len(KILLED)), ids=KILLED)
def test_a_retrain_survives_the_death_of(house: House, number: int) -> None:
    if not house.serves:
        house.finish(house.retrain, house.api.trigger(house.retrain, FIRST))
    before, versions = house.champion(), house.versions()
    promotions, told = len(ModelRegistry(house.client).read(MODEL).promotions), len(house.slack.messages)
    day = FIRST + timedelta(weeks=3 + number)
    run = house.api.trigger(house.retrain, day, {"reason": f"while {KILLED[number]} dies"})
    house.wait_for_task(house.retrain, run, "train", "running")
    starts = house.topology.containers[KILLED[number]].starts
    house.topology.kill(KILLED[number])
    _until_restarted(house, KILLED[number], starts)
    _finish_patiently(house, house.retrain, run)

    outcome = house.api.xcom(house.retrain, run, "report")
    assert outcome["outcome"] == "deployed"
    assert house.versions() == versions + 1
    aliases = {k: str(v) for k, v in house.client.get_registered_model(MODEL).aliases.items()}
    assert aliases == {"champion": outcome["version"], "previous": before}
    assert len(ModelRegistry(house.client).read(MODEL).promotions) == promotions + 1
    keys = [r.data.tags["evermodel.run_key"] for r in _runs(house)]
    assert len(keys) == len(set(keys))
    assert len(house.slack.messages) == told + 1, [m.text for m in house.slack.messages[told:]]


def test_an_alert_is_neither_lost_nor_doubled_when_the_worker_dies(house: House) -> None:
    dag, end = f"drift_{MODEL}", WATCHED.replace(hour=0)
    if not files_of(house.world.spec, house.world.settings.lake, Window(end - timedelta(days=1), end)):
        pytest.skip("nothing has been scored: run the whole file")
    _shift(house, Window(end - timedelta(days=7), end))
    told = len(house.slack.messages)
    run = house.api.trigger(dag, WATCHED + timedelta(minutes=1), run_id="killed")
    house.wait_for_task(dag, run, "alert", "running")
    for worker in ("airflow-worker", "airflow-worker-training"):
        house.topology.kill(worker)
    _finish_patiently(house, dag, run)
    again = house.api.run(dag, logical_date=WATCHED + timedelta(minutes=2), run_id="again")

    verdict = house.api.xcom(dag, run, "verdict")
    assert verdict["severity"] == "critical"
    assert house.api.xcom(dag, again["dag_run_id"], "verdict")["severity"] == "critical"
    posted = [m for m in house.slack.messages[told:] if m.thread_ts is None]
    assert len(posted) == len(verdict_kinds(house, dag, run)), [m.text for m in posted]


def verdict_kinds(house: House, dag: str, run: str) -> list[str]:
    """Return the kinds of incidents that a run opened: each is told once."""
    incidents = house.api.xcom(dag, run, "alert")["incidents"]
    return [i["kind"] for i in incidents if i["action"] not in ("quiet", "resolve")]


def _shift(house: House, window: Window) -> None:
    """Rewrite the prediction log as if another airport had been added: longer ways, and one carrier only."""
    table = log_of(house.world.spec, house.world.settings.lake)
    files = table.files(window.start.date(), (window.end - timedelta(microseconds=1)).date())
    for day, source in sorted({(file.day, file.source) for file in files}):
        found = [file for file in files if (file.day, file.source) == (day, source)]
        tables = [pq.read_table(readable(file.path), partitioning=None) for file in found]
        rows = pa.concat_tables(tables, promote_options="default")
        for name, values in (
            ("distance", pc.add(rows["distance"], 2000.0)),
            ("carrier", pa.array(["WN"] * rows.num_rows)),
        ):
            rows = rows.set_column(rows.column_names.index(name), name, values)
        made = TableFile.new(table.root, day, source)
        with replacing(made.path) as temporary:
            pq.write_table(rows, temporary)
        table.replace(made, rows.schema)


def _runs(house: House) -> list[Any]:
    experiment = house.client.get_experiment_by_name(MODEL)
    return list(house.client.search_runs([experiment.experiment_id], "tags.`evermodel.kind` = 'retrain'"))


def _until_restarted(house: House, name: str, starts: int, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while house.topology.containers[name].starts == starts:
        assert time.monotonic() < deadline, f"{name} was not started again"
        time.sleep(0.2)


def _finish_patiently(house: House, dag: str, run: str, seconds: float = 400) -> None:
    """Wait for a run while the API itself may be away for a moment, as when its database is restarted."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            house.finish(dag, run)
            return
        except EvermodelError:
            if time.monotonic() > deadline:
                raise
            time.sleep(2)


def test_nothing_but_loopback_is_listened_on(house: House) -> None:
    import psutil

    ours = {c.process.pid for c in house.topology.containers.values() if c.process}
    family = {
        p.pid for pid in ours if psutil.pid_exists(pid) for p in psutil.Process(pid).children(True)
    } | ours
    open_to_all = [
        (c.pid, c.laddr)
        for c in psutil.net_connections("tcp")
        if c.status == psutil.CONN_LISTEN and c.pid in family and c.laddr.ip not in ("127.0.0.1", "::1")
    ]
    assert open_to_all == []


def test_logs_and_reports_hold_no_secret(house: House) -> None:
    tasks = (house.topology.folder / "disks").glob("*/logs/**/*.log")
    texts: list[Path] = [*house.topology.logs.glob("*.log"), *tasks]
    for name, secret in house.topology.secrets.items():
        if len(secret) < 20:
            continue
        leaking = [file.name for file in texts if secret in file.read_text(errors="replace")]
        assert leaking == [], name
