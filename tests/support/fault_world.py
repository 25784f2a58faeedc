"""A model whose MLflow server, bucket, database and Slack are behind proxies, and can be put back to a former state."""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import re
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg

from evermodel.core.database.process import is_gone
from evermodel.core.errors import PermanentError
from evermodel.core.storage import BucketPath
from support.fault_proxies import Faults, HttpProxy, PostgresProxy
from support.flights import FAST, World, flights_world
from support.object_stores import new_s3_bucket, s3_environment
from support.slack_server import FakeSlack

HANGS_SECONDS = 240
_MLFLOW = {
    "run": "SELECT t.value, k.value, r.status, r.lifecycle_stage FROM runs r JOIN tags t USING (run_uuid) JOIN tags k "
    "USING (run_uuid) WHERE t.key = 'evermodel.kind' AND k.key = 'evermodel.run_key'",
    "run without a key": "SELECT name, status FROM runs WHERE run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = "
    "'evermodel.run_key')",
    "run tag": "SELECT k.value, t.key, t.value FROM tags t JOIN tags k USING (run_uuid) WHERE k.key = 'evermodel.run_key'",
    "run metric": "SELECT k.value, m.key FROM latest_metrics m JOIN tags k USING (run_uuid) WHERE k.key = 'evermodel.run_key'",
    "logged model": "SELECT status, lifecycle_stage FROM logged_models",
    "version": "SELECT name, version, current_stage, status FROM model_versions WHERE current_stage <> 'Deleted_Internal'",
    "version tag": "SELECT name, version, key, value FROM model_version_tags WHERE (name, version) IN (SELECT name, version "
    "FROM model_versions WHERE current_stage <> 'Deleted_Internal')",
    "model tag": "SELECT name, key, value FROM registered_model_tags",
    "alias": "SELECT name, alias, version FROM registered_model_aliases",
}
_DATABASE = {
    "promotion": "SELECT model, finished, record FROM evermodel_promotion",
    "message": "SELECT destination, state FROM evermodel_message",
    "receipt": "SELECT destination, key_sha256 FROM evermodel_receipt",
    "incident": "SELECT model, content FROM evermodel_incidents",
}
_OTHERS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
_SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=anyone/20260101/us-east-1/s3/aws4_request"}
# Kept in a process's home for speed; whoever needs it makes it.
_CACHES = ("numba", "matplotlib", "model-cache")


@dataclass(frozen=True)
class Ending:
    """How a process ended: with what its work returned, an error, or a signal."""

    value: Any = None
    error: str = ""
    permanent: bool = False
    killed: bool = False
    seconds: float = 0.0
    imported: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return not (self.error or self.killed)


@dataclass(frozen=True)
class Saved:
    """A state of everything; see `FaultWorld.save`."""

    mlflow: sqlite3.Connection
    artifacts: dict[Path, bytes]
    objects: dict[str, tuple[str, bytes]]
    tables: dict[str, bytes]
    slack: tuple[list[Any], list[Any]]


class FaultWorld:
    """One model of the flights example, and the servers that its steps talk to.

    Each piece of work runs in a forked process with a disk of its own: as on another machine.

    Parameters
    ----------
    mlflow, mlflow_folder
        Address of the server, and the folder of its database ``mlflow.db`` and its ``artifacts``.
    postgres
        ``postgres://…`` of a server in which databases may be made.
    """

    def __init__(self, folder: Path, mlflow: str, mlflow_folder: Path, s3: str, postgres: str) -> None:
        self.folder, self.faults, self.slack = folder, Faults(), FakeSlack()
        self._mlflow_folder, self._s3, self._admin = mlflow_folder, s3, postgres
        self._imported: set[str] = set()
        self._known_artifacts = set((mlflow_folder / "artifacts").glob("*"))
        self._ended = ExitStack()
        self._http = self._ended.enter_context(httpx.Client(trust_env=False, headers=_SIGNED))
        self._ended.enter_context(self.slack)
        place = urlsplit(postgres)
        proxies = {
            "mlflow": HttpProxy("mlflow", mlflow, self.faults),
            "bucket": HttpProxy("bucket", s3, self.faults),
            "slack": HttpProxy("slack", self.slack.address, self.faults),
        }
        sql_proxy = PostgresProxy("database", str(place.hostname), int(place.port or 0), self.faults)
        for proxy in (*proxies.values(), sql_proxy):
            self._ended.callback(proxy.close)
        self._bucket = new_s3_bucket(s3)
        self._database = f"faults_{self._bucket.bucket[7:]}"
        self._sql(f"CREATE DATABASE {self._database}")
        login = f"{place.username}@127.0.0.1:{sql_proxy.port}"
        url = f"postgresql+psycopg://{login}/{self._database}?sslmode=disable&gssencmode=disable"
        self.world = self._on_bucket(flights_world(folder, proxies["mlflow"].url), url)
        self.slack.uploads_at = proxies["slack"].url
        slack = self.slack.connection_json().replace(self.slack.address, proxies["slack"].url)
        self.environment = {
            **self.world.environment,
            **s3_environment(proxies["bucket"].url),
            "EVERMODEL_DATABASE": url,
            "AIRFLOW_CONN_SLACK_API_DEFAULT": slack,
            "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
            "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
            "MLFLOW_TRACKING_URI": proxies["mlflow"].url,
        }

    def _on_bucket(self, world: World, database: str) -> World:
        lake = self._bucket / "lake"
        changes = {"lake": lake, "dvc_remote": f"{lake}/dvc", "database": database}
        places = {"EVERMODEL_LAKE": str(lake), "EVERMODEL_DVC_REMOTE": f"{lake}/dvc"}
        world = replace(
            world,
            settings=world.settings.model_copy(update=changes),
            environment={**world.environment, **places},
        )
        world.change(
            source={"late": "1d"}, candidates=[FAST], drift={"reference": {"kind": "trailing", "span": "3d"}}
        )
        return world

    def close(self) -> None:
        """End the proxies, and drop the database."""
        self._ended.close()
        self._sql(f"DROP DATABASE {self._database} WITH (FORCE)")

    def run(self, work: Callable[[World], Any], kill_after: float | None = None) -> Ending:
        """Do work in a process of its own, killed with all its children after so many seconds if it still runs."""
        disk = Path(tempfile.mkdtemp(prefix="disk-", dir=self.folder))
        receiving, sending = os.pipe()
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            os.close(receiving)
            self._work_and_exit(work, disk, sending)
        os.close(sending)
        limit = HANGS_SECONDS if kill_after is None else kill_after
        parts, ended = [], False
        try:
            while not ended and (left := began + limit - time.monotonic()) > 0:
                if select.select([receiving], [], [], left)[0]:
                    parts.append(os.read(receiving, 1 << 16))
                    ended = not parts[-1]
        finally:
            if not ended:
                _kill(child)
        os.waitpid(child, 0)
        os.close(receiving)
        seconds = time.monotonic() - began
        found = pickle.loads(b"".join(parts)) if ended and any(parts) else Ending(killed=True)
        if not ended and kill_after is None:
            found = Ending(error=f"it hangs for more than {HANGS_SECONDS} s", permanent=True)
        left_behind = [] if found.killed else self._left_on(disk)
        shutil.rmtree(disk, ignore_errors=True)
        if left_behind and found.good:
            found = replace(found, error=f"files are left on the disk: {left_behind[:3]}", permanent=True)
        self._import(found.imported)
        return replace(found, seconds=seconds, imported=())

    def _import(self, modules: tuple[str, ...]) -> None:
        """Import what a process imported, so that the next ones find it imported."""
        for name in modules:
            if name not in self._imported:
                self._imported.add(name)
                with suppress(Exception):
                    importlib.import_module(name)

    def _work_and_exit(self, work: Callable[[World], Any], disk: Path, sending: int) -> None:
        code = 1
        try:
            os.setsid()
            os.environ.update(self.environment)
            os.environ["EVERMODEL_HOME"], os.environ["TMPDIR"] = str(disk / "home"), str(disk)
            tempfile.tempdir = str(disk)
            logging.disable(logging.CRITICAL)
            settings = self.world.settings.model_copy(update={"home": disk / "home"})
            present = set(sys.modules)
            try:
                done = Ending(work(replace(self.world, settings=settings)))
            except Exception as error:  # noqa: BLE001  the parent decides
                text = "".join(traceback.format_exception(error)[-3:]).strip()
                done = Ending(error=text[-1500:], permanent=isinstance(error, PermanentError))
            with os.fdopen(sending, "wb") as pipe:
                pickle.dump(replace(done, imported=tuple(sorted(sys.modules.keys() - present))), pipe)
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(code)

    def _left_on(self, disk: Path) -> list[str]:
        files = (file.relative_to(disk).as_posix() for file in disk.rglob("*") if file.is_file())
        return [name for name in files if not any(cache in name for cache in _CACHES)]

    def save(self) -> Saved:
        """Keep the state of all servers; nothing may run meanwhile."""
        copy = sqlite3.connect(":memory:", check_same_thread=False)
        with closing(sqlite3.connect(self._mlflow_folder / "mlflow.db")) as live:
            live.backup(copy)
        with psycopg.connect(self._address(self._database)) as connection:
            tables = _tables(connection)
        objects = {key: (etag, self._object("GET", key).content) for key, etag in self._objects().items()}
        artifacts = {file: file.read_bytes() for file in self._artifacts()}
        return Saved(copy, artifacts, objects, tables, deepcopy((self.slack.messages, self.slack.files)))

    def restore(self, saved: Saved) -> None:
        """Put all servers back."""
        with closing(sqlite3.connect(self._mlflow_folder / "mlflow.db", timeout=60)) as live:
            saved.mlflow.backup(live)
        for file in self._artifacts():
            if file not in saved.artifacts:
                file.unlink()
                for folder in file.parents:  # the server lists empty ones, too
                    if folder.parent == self._mlflow_folder / "artifacts" or any(folder.iterdir()):
                        break
                    folder.rmdir()
        for file, content in saved.artifacts.items():
            if not file.exists() or file.read_bytes() != content:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        with psycopg.connect(self._address(self._database)) as connection:
            _end_others(connection)
            _put_back(connection, saved.tables)
        present = self._objects()
        for key in present.keys() - saved.objects.keys():
            self._object("DELETE", key)
        for key, (etag, content) in saved.objects.items():
            if present.get(key) != etag:
                self._object("PUT", key, content)
        self.slack.messages[:], self.slack.files[:] = deepcopy(saved.slack)

    def state(self) -> Counter[str]:
        """Return everything that is kept, a line each, without what differs from run to run."""
        lines: list[str] = []
        with closing(sqlite3.connect(self._mlflow_folder / "mlflow.db")) as live:
            for what, query in _MLFLOW.items():
                lines += [_line(what, row) for row in live.execute(query) if self._is_mine(what, row)]
        with psycopg.connect(self._address(self._database)) as connection:
            for what, query in _DATABASE.items():
                lines += [_line(what, row) for row in connection.execute(query)]  # type: ignore[call-overload]
            # One whose owner has ended is free.
            held = connection.execute("SELECT name, owner FROM evermodel_lease WHERE owner <> ''").fetchall()
            lines += [f"lease {name}" for name, owner in held if not is_gone(owner)]
        lines += [f"artifact {_plain(str(file))}" for file in self._artifacts()]
        lines += [f"object {_plain(key)}" for key in self._objects()]
        lines += [f"slack {number}: {_plain(m.text)}" for number, m in enumerate(self.slack.messages)]
        # Slack drops a file whose upload was not completed.
        lines += [f"slack file {found.filename}" for found in self.slack.files if found.shared]
        return Counter(lines)

    def _is_mine(self, what: str, row: tuple[Any, ...]) -> bool:
        keyless = what in ("logged model", "run without a key")
        return keyless or any(self.world.name in str(value) for value in row)

    def _artifacts(self) -> Iterator[Path]:
        for folder in sorted(set((self._mlflow_folder / "artifacts").glob("*")) - self._known_artifacts):
            yield from (file for file in sorted(folder.rglob("*")) if file.is_file())

    def _objects(self) -> dict[str, str]:
        found: dict[str, str] = {}
        token = ""
        while True:
            more = {"continuation-token": token} if token else {}
            answer = self._http.get(f"{self._s3}/{self._bucket.bucket}", params={"list-type": "2", **more})
            text = answer.raise_for_status().text
            pairs = re.findall(
                r"<Key>(.*?)</Key>.*?<ETag>(?:&quot;|\")?(.*?)(?:&quot;|\")?</ETag>", text, re.S
            )
            found.update(pairs)
            rest = re.search(r"<NextContinuationToken>(.*?)<", text)
            if rest is None:
                return found
            token = rest[1]

    def _object(self, method: str, key: str, content: bytes | None = None) -> httpx.Response:
        url = f"{self._s3}/{self._bucket.bucket}/{key}"
        return self._http.request(method, url, content=content).raise_for_status()

    def _sql(self, command: str) -> None:
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(command)  # type: ignore[call-overload]

    def _address(self, database: str) -> str:
        return f"{self._admin.rpartition('/')[0]}/{database}"


@contextmanager
def fault_world(*places: Any) -> Iterator[FaultWorld]:
    """Make a `FaultWorld`, and close it afterwards."""
    made = FaultWorld(*places)
    try:
        yield made
    finally:
        made.close()


def _kill(process: int) -> None:
    """Kill a process with its children, also before it has made its group."""
    try:
        os.killpg(process, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(process, signal.SIGKILL)


def _tables(connection: psycopg.Connection) -> dict[str, bytes]:
    """Return the rows of every table as COPY writes them, and of every sequence the call that sets it."""
    names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    found = {}
    with connection.cursor() as cursor:
        for (name,) in names:
            with cursor.copy(f'COPY "{name}" TO STDOUT') as rows:  # type: ignore[call-overload]
                found[name] = b"".join(bytes(part) for part in rows)
    sequences = connection.execute("SELECT sequencename, last_value FROM pg_sequences").fetchall()
    return found | {f"setval {name}": b"%d" % (last or 0) for name, last in sequences}


def _put_back(connection: psycopg.Connection, saved: dict[str, bytes]) -> None:
    """Put back the tables that differ."""
    for name, content in saved.items() - _tables(connection).items():
        if name.startswith("setval "):
            last = int(content)
            connection.execute("SELECT setval(%s, %s, %s)", (name[7:], max(last, 1), last > 0))
            continue
        connection.execute(f'DELETE FROM "{name}"')  # type: ignore[call-overload]
        with connection.cursor().copy(f'COPY "{name}" FROM STDIN') as rows:  # type: ignore[call-overload]
            rows.write(content)


def _end_others(connection: psycopg.Connection) -> None:
    """End the connections of processes that were killed, and wait until their locks are free."""
    while connection.execute(_OTHERS).fetchall():
        connection.commit()  # within a transaction the list of connections stays as it was
        time.sleep(0.01)


def _line(what: str, row: tuple[Any, ...]) -> str:
    *names, value = (_plain(str(value)) for value in row)
    return f"{what} {' '.join(names)}: {value}"


def _plain(text: str) -> str:
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*(\+00:00|Z)?", "TIME", text)
    text = re.sub(r"\b\d{10}\.\d{6}\b", "TS", text)  # Slack's
    return re.sub(r"\b\d{13}\b", "TIME", re.sub(r"m-[0-9a-f]{32}|[0-9a-f-]{32,}", "*", text))


def bucket_of(world: World) -> BucketPath:
    """Return the lake."""
    assert isinstance(world.settings.lake, BucketPath)
    return world.settings.lake


Answers = Mapping[str, Any]
