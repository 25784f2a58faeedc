"""A different canary in every setting and connection: none is found in anything that is printed, stored or sent."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from traceback import format_exception

import pytest
import yaml

from evermodel.cli.diagnostics.remote import check_remote
from evermodel.cli.local_stack.ports import free_port
from evermodel.core.database.database import Database
from evermodel.core.errors import EvermodelError
from evermodel.core.logins import login_of, query_of, with_login
from evermodel.core.settings import Settings
from evermodel.core.storage import client, storage_path
from evermodel.data.foreign_log import label_source, reference_source
from evermodel.data.sources import arrival, read_events
from evermodel.monitoring.performance.scrape import _scrape
from evermodel.registry.tracking import connect
from evermodel.reports.overview.server import TrackingServer
from evermodel.spec import load_spec
from evermodel.spec.window import Window
from support.airflow_runs import claim_airflow_home, retrain
from support.flights import World
from support.paths import SAMPLE
from support.small_spec import small_spec

claim_airflow_home()

CANARIES = {
    name: f"canary{number}k3y"
    for number, name in enumerate(
        (
            "tracking",
            "remote",
            "serving",
            "token",
            "query",
            "staging",
            "spec",
            "slack",
            "signing",
            "source",
            "database",
            "other database",
            "registry",
            "other remote",
            "tokens",
            "key",
            "session",
            "account",
            "hook",
            "endpoint",
            "mail",
            "extra",
            "signature",
            "host",
        ),
        11,
    )
}


def closed(scheme: str = "http", login: str = "", query: str = "") -> str:
    """Return an address on which nothing listens."""
    return f"{scheme}://{f'ada:{login}@' if login else ''}127.0.0.1:{free_port()}/x{f'?token={query}' if query else ''}"


def environment(tracking: str | None = None) -> dict[str, str]:
    """Return every setting that can hold a login, each with a canary of its own."""
    return {
        "MLFLOW_TRACKING_URI": tracking or closed(login=CANARIES["tracking"]),
        "EVERMODEL_DVC_REMOTE": closed(login=CANARIES["remote"]),
        "EVERMODEL_SERVING_URLS": f"{closed(login=CANARIES['serving'])},{closed(query=CANARIES['query'])}",
        "EVERMODEL_SERVING_TOKEN": CANARIES["token"],
        "EVERMODEL_MLFLOW_STAGING": closed(login=CANARIES["staging"]),
        "EVERMODEL_SLACK_SIGNING_SECRET": CANARIES["signing"],
        "EVERMODEL_SLACK_SIGNING_SECRET_OTHER": CANARIES["signing"],
        "EVERMODEL_SOURCE_DVC_REMOTE": closed(login=CANARIES["other remote"]),
        "EVERMODEL_DATABASE_PROD": closed("postgresql+psycopg", CANARIES["other database"]),
        "EVERMODEL_SERVING_TOKENS": f"{CANARIES['tokens']} predict caller:shop",
        "AWS_ACCESS_KEY_ID": CANARIES["host"],
        "AWS_SECRET_ACCESS_KEY": CANARIES["key"],
        "AWS_SESSION_TOKEN": CANARIES["session"],
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "AZURE_STORAGE_CONNECTION_STRING": (
            f"AccountName=a;AccountKey={CANARIES['account']}A;BlobEndpoint=http://127.0.0.1:{free_port()}/a;"
        ),
        **connections(),
        "SPEC_SECRET": CANARIES["spec"],
    }


def connections() -> dict[str, str]:
    """Return Airflow's connections, in each form that one can have."""
    hook = {
        "conn_type": "http",
        "host": f"http://127.0.0.1:{free_port()}",
        "login": "ada",
        "password": CANARIES["hook"],
    }
    mail = {
        "conn_type": "smtp",
        "host": "127.0.0.1",
        "port": free_port(),
        "login": "ada",
        "password": CANARIES["mail"],
    }
    wide = {
        "conn_type": "postgres",
        "host": "127.0.0.1",
        "port": free_port(),
        "extra": {"password": CANARIES["extra"]},
    }
    return {
        "AIRFLOW_CONN_SLACK_API_DEFAULT": json.dumps({"conn_type": "slack", "password": CANARIES["slack"]}),
        "AIRFLOW_CONN_SALES": f"postgres://ada:{CANARIES['source']}@127.0.0.1:{free_port()}/shop",
        "AIRFLOW_CONN_WIDE": json.dumps(wide),
        "AIRFLOW_CONN_HOOK": json.dumps({**hook, "extra": {"endpoint": f"in?code={CANARIES['endpoint']}"}}),
        "AIRFLOW_CONN_MAIL": json.dumps(mail),
    }


def servers() -> dict[str, str]:
    """Return the settings by which evermodel itself works; none of these servers answers."""
    return {
        "EVERMODEL_DATABASE": closed("postgresql+psycopg", CANARIES["database"]),
        "MLFLOW_REGISTRY_URI": closed(login=CANARIES["registry"]),
    }


def found_in(texts: Iterable[tuple[str, str | bytes]]) -> list[str]:
    """Return the places that hold a canary."""
    found = []
    for place, text in texts:
        data = text if isinstance(text, bytes) else text.encode()
        found += [f"{name} in {place}" for name, canary in CANARIES.items() if canary.encode() in data]
    return found


def files_in(*folders: Path) -> Iterable[tuple[str, bytes]]:
    """Yield every file below some folders."""
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file():
                yield str(file), file.read_bytes()


def test_settings_hold_no_login_and_clients_find_it() -> None:
    env = {**environment(), **servers()}
    settings = Settings.from_environment(env)
    assert not found_in(
        [("repr", repr(settings)), ("json", settings.model_dump_json()), ("text", str(settings))]
    )
    assert login_of(settings.tracking_uri) == ("ada", CANARIES["tracking"])
    assert with_login(settings.dvc_remote) == env["EVERMODEL_DVC_REMOTE"]
    assert query_of(settings.serving_urls[1]) == {"token": CANARIES["query"]}
    assert with_login(settings.database_url) == env["EVERMODEL_DATABASE"]


SOURCES = [
    {
        "kind": "sql",
        "connection": "sales",
        "query": "select * from t where at between {{ start }} and {{ end }}",
    },
    {"kind": "ibis", "connection": "sales", "table": "t"},
    {"kind": "ibis", "connection": "wide", "table": "t"},
    {"path": f"s3://lake/a.parquet?X-Amz-Signature={CANARIES['signature']}"},
]


def send_to_hook(name: str) -> None:
    """Send an event to a connection as the drift DAG does."""
    from evermodel.alerts.cloud_events import send_events
    from evermodel_provider.connections import AirflowConnections
    from evermodel_provider.operators.events import _address, _headers

    fields = AirflowConnections().fields(name)
    send_events(_address(fields), [{"id": "e"}], _headers(fields), f"connection {name}")


@pytest.mark.timeout(120)
def test_an_error_of_each_client_hides_the_login(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    caplog.set_level("DEBUG", "httpx")
    settings = Settings.from_environment({**environment(), "EVERMODEL_HOME": str(tmp_path)})
    said: list[str] = []
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(client._RETRY, "max_retries", 0)
    day = Window(datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC))
    for call in (
        *(lambda source=source: arrival(small_spec(source=source), day) for source in SOURCES),
        lambda: Database(servers()["EVERMODEL_DATABASE"]).reading().__enter__(),
        *(lambda lake=lake: storage_path(lake, "lake").exists() for lake in ("s3://lake/x", "az://lake/x")),
        lambda: storage_path(f"s3://ada:{CANARIES['key']}@lake/x", "EVERMODEL_LAKE"),
        lambda: send_to_hook("hook"),
        lambda: connect(settings.tracking_uri),
        lambda: TrackingServer(settings.tracking_uri).models(),
        lambda: next(iter(check_remote(settings))),
        *(lambda url=url: _scrape("small", url, CANARIES["token"]) for url in settings.serving_urls),
    ):
        try:
            said.append(str(call()))
        except EvermodelError as error:
            said.append("".join(format_exception(error)))  # with all that a log of it would show
    assert len(said) == 14
    told = ("127.0.0.1", "refused", "cannot be", "with a login", "does not take")
    assert [text for text in said if not any(sign in text for sign in told)] == []
    assert not found_in([("messages", "\n".join(said)), ("log", caplog.text)])
    assert not found_in(files_in(tmp_path))


SOURCE = """
import pyarrow.compute as pc
import pyarrow.parquet as pq

def flights(start, end, password):
    assert password == "{secret}"
    rows = pq.read_table("{sample}")
    at = pc.field("scheduled_at")
    return rows.filter((at >= start) & (at < end))
"""


@pytest.fixture
def secretive(served_world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose source is a function that takes a password from a variable."""
    monkeypatch.setenv("SPEC_SECRET", CANARIES["spec"])
    folder = served_world.folder / "code"
    folder.mkdir()
    (folder / "secretive.py").write_text(SOURCE.format(secret=CANARIES["spec"], sample=SAMPLE))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    data = yaml.safe_load(served_world.spec_file.read_text())
    data["source"] = {
        "kind": "python", "function": "secretive:flights", "arguments": {"password": "${SPEC_SECRET}"}
    }  # fmt: skip
    served_world.spec_file.write_text(yaml.safe_dump(data, sort_keys=False))
    return served_world


@pytest.fixture
def stored(tmp_path_factory: pytest.TempPathFactory, mlflow_server: str) -> Path:
    """The folder of the MLflow server: its database and its artifacts."""
    (folder,) = (
        f for f in tmp_path_factory.getbasetemp().glob("mlflow[0-9]*") if (f / "server.log").exists()
    )
    return folder


def test_a_spec_is_logged_as_written(secretive: World) -> None:
    source = secretive.spec.unexpanded()["source"]
    assert source["arguments"] == {"password": "${SPEC_SECRET}"}
    assert secretive.spec.source.arguments == {"password": CANARIES["spec"]}
    secretive.change(task="${SPEC_SECRET}")
    with pytest.raises(EvermodelError, match="SPEC_SECRET") as refused:
        load_spec(secretive.name)
    assert not found_in([("error", str(refused.value))])


EVERYWHERE = """
name: everywhere
task: binary
source:
  path: s3://lake/a.parquet?sig=${SPEC_SECRET}
  tables: {events: {path: "https://127.0.0.1:9/events.parquet?sig=${SPEC_SECRET}", time_column: at, key: id, lateness: 1h}}
time_column: at
id_column: id
label: {column: late, delay: 1d}
features:
  numeric: [amount, events_7d]
  aggregates: [{name: events_7d, table: events, function: count, over: 7d}]
watch:
  prediction: score
  labels: {source: {kind: python, function: "labels:read", arguments: {password: "${SPEC_SECRET}", in: [{it: "x ${SPEC_SECRET}"}]}}}
  reference: {start: 2026-01-05, end: 2026-01-08, source: {path: "abfs://a/b.parquet?sv=1&sig=${SPEC_SECRET}"}}
alerts:
  notifiers: [{notifier: "a.b.C", arguments: {url: "https://hooks.example/${SPEC_SECRET}"}}]
"""


def test_a_secret_in_every_place_of_a_spec_is_logged_as_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEC_SECRET", CANARIES["spec"])
    file = tmp_path / "everywhere.yaml"
    file.write_text(EVERYWHERE)
    spec = load_spec(file)
    logged = json.dumps(spec.unexpanded())
    assert logged.count("${SPEC_SECRET}") == EVERYWHERE.count("${SPEC_SECRET}")
    apart = [label_source(spec), reference_source(spec)]
    told = [one.source.told for one in (spec, *apart) if one is not None]
    assert len(told) == 3
    day, said = Window(datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC)), []
    with pytest.raises(EvermodelError) as failed:
        read_events(spec, "events", day)
    said.append("".join(format_exception(failed.value)))
    assert not found_in([("logged", logged), ("told", str(told)), ("errors", str(said))])


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_the_command_line_leaves_no_secret_anywhere(
    secretive: World, mlflow_server: str, stored: Path, tmp_path: Path
) -> None:
    """With every service up, then with each of them down: what was printed, written and passed on is searched."""
    name = secretive.name
    login = mlflow_server.replace("://", f"://ada:{CANARIES['tracking']}@")
    down = {**os.environ, **environment(), **servers()}
    up = {**os.environ, **environment(), **secretive.environment, "MLFLOW_TRACKING_URI": login}

    seen = [*_command(up, "train", name, "--as-of", "2013-03-11"), *_command(up, "reproduce", name, "1")]
    assert "is reproduced" in seen[2][1]
    seen += _command(up, "doctor")
    down |= {"EVERMODEL_MODELS": str(secretive.settings.models)}
    for words in (("train", name), ("doctor",), ("promote", name, "1", "--reason", "x")):
        seen += _command(down, *words)
    seen += _command({**down, "EVERMODEL_LAKE": "s3://lake/x"}, "doctor", "--only", "lake", "--only", "DVC")
    assert not found_in([*seen, *files_in(secretive.settings.home, secretive.settings.lake, stored)])


def _command(env: dict[str, str], *words: str) -> list[tuple[str, str]]:
    """Run a command, and return what it printed, with the arguments of its processes and what children got."""
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "evermodel"), *words],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    arguments: set[str] = set()
    while process.poll() is None:
        arguments |= {_text(file) for file in _command_lines(process.pid)}
        time.sleep(0.5)
    assert process.stdout is not None
    return [(" ".join(words), process.stdout.read()), ("arguments", "\n".join(arguments))]


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_airflow_leaves_no_secret_in_its_database_or_logs(
    secretive: World,
    mlflow_server: str,
    stored: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """XComs, rendered templates and logs of a whole retrain, with logins in Airflow's connections."""
    server = mlflow_server.removeprefix("http://")
    for variable, value in environment().items():
        if not variable.startswith(("MLFLOW_", "EVERMODEL_DVC")):
            monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", f"mlflow://ada:{CANARIES['tracking']}@{server}")
    done = retrain(secretive, "2013-03-11")
    assert done.state == "success"
    out, errors = capfd.readouterr()
    home = claim_airflow_home()
    with sqlite3.connect(next(home.glob("*.db"))) as database:
        assert database.execute("select count(*) from xcom").fetchone()[0] > 5
    searched = files_in(home, secretive.settings.home, secretive.settings.lake, stored)
    assert not found_in([("stdout", out), ("stderr", errors), *searched])


def _command_lines(pid: int) -> list[Path]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    pids = [str(pid), *(children.read_text().split() if children.exists() else [])]
    return [file for p in pids if (file := Path(f"/proc/{p}/cmdline")).exists()]


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # the process has ended meanwhile
        return ""
