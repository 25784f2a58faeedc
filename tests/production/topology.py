"""docker-compose.yaml without a container engine: the same commands with the same environment, as processes on loopback.

What differs from containers is in this file and nowhere else: host names and ports become free ports of the loopback
interface, folders of the image and of volumes become folders of the test, the images of PostgreSQL, Redis, and the S3
store are Debian's PostgreSQL and Redis and moto's S3 server, and the services that only watch are left out.

Each service of evermodel's image runs in a mount namespace of its own, whose disk is empty but for the project: no two of them
share a folder that one can write.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from evermodel.cli.local_stack.ports import free_port
from support.dockerfile import stages
from support.paths import PROJECT
from support.postgres_server import server_programs

LEFT_OUT = ("prometheus", "grafana", "statsd")
NOBODY = 65534
SERVERS = ("postgres", "redis", "storage")  # what all others reach by network alone
# $1: folder of the topology, $2: disk of this service; then what has to stay visible in folders for temporary files.
_OWN_DISK = """
set -e
top=$1 disk=$2 number=0; shift 2
mount --make-rprivate /
mount -t tmpfs none /mnt
mkdir /mnt/disk /mnt/site
mount --bind "$disk" /mnt/disk
mount --bind "$top/site" /mnt/site
while [ "$1" != -- ]; do
    number=$((number + 1)); eval "kept$number=\\$1"
    mkdir /mnt/$number; mount --bind "$1" /mnt/$number; shift
done
shift
for place in /tmp /var/tmp /dev/shm; do mount -t tmpfs none "$place"; done
while [ $number -gt 0 ]; do
    eval "place=\\$kept$number"; mkdir -p "$place"
    mount --bind /mnt/$number "$place"; mount -o remount,bind,ro "$place"; number=$((number - 1))
done
mkdir -p "$top"
mount --bind /mnt/disk "$top"
mkdir -p "$top/site"
mount --bind /mnt/site "$top/site"
mount -o remount,bind,ro "$top/site"
mount --bind "$top/logs" "$top/site/logs"
umount -l /mnt
mount -o remount,bind,ro /
cd "$top/site"
exec "$@"
"""
_VARIABLE = re.compile(r"^ENV ((?:.|\\\n)+?)(?<!\\)$", re.M)


def resolved(site: Path, extras: Mapping[str, str]) -> dict[str, Any]:
    """Return the compose file with every variable filled in, as Debian's docker-compose reads it."""
    subprocess.run(["sh", "include/deploy/first_run.sh"], cwd=site, check=True, capture_output=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(site), **extras}
    done = subprocess.run(
        ["docker-compose", "config"], cwd=site, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


def image_environment(stage: str = "production") -> dict[str, str]:
    """Return what a stage of the Dockerfile sets."""
    found: dict[str, str] = {}
    for block in _VARIABLE.findall(stages()[stage]):
        pairs = (part.split("=", 1) for part in block.replace("\\\n", " ").split())
        # A build argument that nobody gives is empty.
        found.update((name, "" if value.startswith("$") else value) for name, value in pairs)
    return found


@dataclass
class Container:
    """One service of the file, as a process.

    Parameters
    ----------
    disk
        All that it can write; None for a server that the others reach by network alone.
    keeps
        Whether what is in its `data` outlives it, as a named volume does; everything else is empty at each start.
    """

    name: str
    command: list[str]
    env: dict[str, str]
    once: bool
    health: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    keeps: bool = False
    disk: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0


class Topology:
    """Everything that the file describes, kept running as `restart: unless-stopped` says.

    Parameters
    ----------
    folder
        Takes the site (the project as the image has it), the disk of each service, and the logs.
    models
        Folder of the specs, which are copied into the image.
    extras
        What a person would write into `.env`, and shorter waits.
    """

    def __init__(self, folder: Path, models: Path, served: str, extras: Mapping[str, str]) -> None:
        self.folder = folder
        self.site, self.logs = folder / "site", folder / "logs"
        for made in (self.site / "include", self.site / "logs", self.logs):
            made.mkdir(parents=True)
        shutil.copy(PROJECT / "docker-compose.yaml", self.site)
        shutil.copytree(PROJECT / "include" / "deploy", self.site / "include" / "deploy")
        shutil.copytree(models, self.site / "include" / "models")
        (self.site / "dags").symlink_to(PROJECT / "dags")
        # Python finds the installed package; everything else that a service reads is in the site.
        self.file = resolved(self.site, {"EVERMODEL_SERVED": served})
        self.extras = dict(extras)
        self.secrets = dict(
            line.split("=", 1) for line in (self.site / ".env").read_text().splitlines() if "=" in line
        )
        self._ports: dict[str, int] = {}
        self._keeping, self._stopped = threading.Lock(), False
        services = {name: s for name, s in self.file["services"].items() if name not in LEFT_OUT}
        self.containers = {name: self._container(name, service) for name, service in services.items()}
        logins = self.site / "include" / "deploy" / "mlflow" / "basic_auth.ini"
        logins.write_text(self._local(logins.read_text(), "mlflow"))

    def port(self, service: str, inside: str | int) -> int:
        """Return the port of loopback that stands for a service's port."""
        return self._ports.setdefault(f"{service}:{inside}", free_port())

    def url(self, service: str, inside: int) -> str:
        """Return the address of a service."""
        return f"http://127.0.0.1:{self.port(service, inside)}"

    # -- from containers to processes

    def _container(self, name: str, service: dict[str, Any]) -> Container:
        env = {**self._inherited(), **image_environment(), **_strings(service.get("environment", {}))}
        env = {key: self._local(value, name) for key, value in env.items()}
        env["AIRFLOW__METRICS__STATSD_HOST"] = "127.0.0.1"
        env.update(self._of_one_host(name), **{key: self._local(v, name) for key, v in self.extras.items()})
        command = service.get("command") or []
        command = command.split() if isinstance(command, str) else command
        made = Container(
            name,
            [self._local(part, name) for part in command],
            env,
            once=service.get("restart", "no") == "no" and name.endswith("-init"),
            health=[self._local(part, name) for part in service.get("healthcheck", {}).get("test", [])][1:],
            after=[other for other in service.get("depends_on", {}) if other not in LEFT_OUT],
        )
        if made.command and made.command[0] == "airflow" and "celery" in made.command:
            # Containers have host names of their own; here two workers would share one.
            made.command += ["--celery-hostname", f"{name}@loopback"]
        if made.command[:2] in (["airflow", "celery"], ["airflow", "triggerer"]):
            made.command.append("--skip-serve-logs")  # a server on all interfaces, and all at one port
        if name not in SERVERS:
            made.disk = self.folder / "disks" / name
            made.keeps = any(":" in volume and volume[0] != "/" for volume in service.get("volumes", []))
        return getattr(self, f"_{name}", lambda made: made)(made)  # type: ignore[no-any-return]

    def _inherited(self) -> dict[str, str]:
        kept = ("LANG", "TMPDIR", "SSL_CERT_FILE", "PYTHONPATH", "PYTHONPYCACHEPREFIX")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "PATH": path,
            "HOME": str(self.folder),
            "NO_PROXY": "127.0.0.1",
        }

    def _of_one_host(self, name: str) -> dict[str, str]:
        """What two services may share in containers, and not on one host; and loopback instead of all interfaces."""
        return {
            "HOME": str(self.folder),
            "DVC_SITE_CACHE_DIR": str(self.folder / "dvc"),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.port(name, 8974)),
        }

    def _local(self, text: str, owner: str) -> str:
        """Put loopback addresses and the test's folders where the file has names of containers."""
        text = text.replace("$$", "$")
        services = "|".join(map(re.escape, self.file["services"]))
        # A login's name may be a service's, and its password begin with digits.
        text = re.sub(
            rf"(?<![\w.-])({services}):(\d+)(?!\w)", lambda m: f"127.0.0.1:{self.port(m[1], m[2])}", text
        )
        text = re.sub(
            r"(127\.0\.0\.1|localhost):(8080|5000|8000|8001|8974|8333)\b",
            lambda m: f"127.0.0.1:{self.port(_owner(m[2], owner), m[2])}",
            text,
        )
        text = re.sub(r"(--port[= ])(\d+)", lambda m: f"{m[1]}{self.port(owner, m[2])}", text)
        if text in ("8080", "8001"):
            text = str(self.port(owner, text))
        if text == "9125":
            text = str(self.port("statsd", text))
        text = text.replace("0.0.0.0", "127.0.0.1")
        return (
            text.replace("/opt/evermodel/data", str(self.folder / "data"))
            .replace("/opt/airflow", str(self.site))
            .replace("/tmp/airflow", str(self.folder / "airflow"))
        )

    def _postgres(self, made: Container) -> Container:
        programs = server_programs()
        assert programs is not None
        folder = self.folder / "postgres"
        folder.mkdir()
        os.chown(folder, NOBODY, NOBODY)
        owner = (
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            if os.geteuid() == 0
            else []
        )
        password = folder / "password"
        password.write_text(self.secrets["POSTGRES_PASSWORD"])
        setup = [
            "-U",
            "postgres",
            "--auth=scram-sha-256",
            "--auth-local=trust",
            f"--pwfile={password}",
            "-E",
            "UTF8",
        ]
        made_by = [*owner, str(programs / "initdb"), "-D", str(folder / "data"), *setup, "--locale=C.UTF-8"]
        subprocess.run(made_by, check=True, capture_output=True, cwd=folder)
        password.unlink()
        port = self.port("postgres", 5432)
        made.command = [
            *(*owner, str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"),
        ]
        client = {
            "PGHOST": str(folder),
            "PGPORT": str(port),
            "PATH": f"{programs}{os.pathsep}{made.env['PATH']}",
        }
        made.env |= client
        made.health = ["pg_isready", "-U", "postgres"]
        return made

    def _redis(self, made: Container) -> Container:
        folder = self.folder / "redis"
        folder.mkdir()
        port = str(self.port("redis", 6379))
        made.command += ["--port", port, "--bind", "127.0.0.1", "--dir", str(folder)]
        made.health = ["redis-cli", "-p", port, "ping"]
        return made

    def _storage(self, made: Container) -> Container:
        port = str(self.port("storage", 8333))
        made.command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", port]
        made.health = [sys.executable, "include/deploy/healthy.py", f"http://127.0.0.1:{port}/moto-api/"]
        return made

    # -- running them

    def __enter__(self) -> Topology:
        for name in self._order():
            self._launch(self.containers[name])
            self._await(name)
            if name == "postgres":
                self._databases()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._keeping:
            self._stopped = True
        below = ("postgres", "redis", "storage", "mlflow")
        for names in ([n for n in self.containers if n not in below], below):
            asked = [self.containers[name] for name in names]
            for container in asked:
                if container.process is not None:
                    _signal(container.process.pid, signal.SIGTERM)
            deadline = time.monotonic() + 15.0
            for container in asked:
                self._end(container, signal.SIGTERM, max(0.1, deadline - time.monotonic()))

    def kill(self, name: str) -> None:
        """Kill a service with everything in it, as `docker kill` does; it is started again a moment later."""
        self._end(self.containers[name], signal.SIGKILL, 10.0)

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command where a service runs, as `docker exec` does."""
        container = self.containers[name]
        return subprocess.run(
            self._inside(container, command), env=container.env, cwd=self.site, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    def log(self, name: str, lines: int = 60) -> str:
        """Return the end of a service's log."""
        text = (self.logs / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _order(self) -> list[str]:
        done: list[str] = []
        while len(done) < len(self.containers):
            ready = [n for n, c in self.containers.items() if n not in done and set(c.after) <= set(done)]
            assert ready, "the services wait for each other"
            done += ready
        return done

    def _launch(self, container: Container) -> None:
        if container.disk is not None:
            _empty(container.disk, keep=container.keeps)
        with (self.logs / f"{container.name}.log").open("ab") as log:
            container.process = subprocess.Popen(
                self._isolated(container),
                env=container.env,
                cwd=self.site,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        container.starts += 1

    def _isolated(self, container: Container) -> list[str]:
        """Return the command that runs a service with a disk of its own."""
        if container.disk is None:
            return container.command
        own = [_OWN_DISK, "own-disk", str(self.folder), str(container.disk), str(PROJECT)]
        installed = [] if Path(sys.prefix).is_relative_to(PROJECT) else [sys.prefix]
        return ["unshare", "--mount", "sh", "-c", *own, *installed, "--", *container.command]

    def _inside(self, container: Container, command: Sequence[str]) -> list[str]:
        if container.disk is None:
            return list(command)
        assert container.process is not None
        there = ["nsenter", f"--target={container.process.pid}", "--mount", "sh", "-c", 'cd "$0"; exec "$@"']
        return [*there, str(self.site), *command]

    def _await(self, name: str, seconds: float = 180.0) -> None:
        """Wait as `depends_on` does: until the health check passes, or a one-off has ended well."""
        container = self.containers[name]
        awaited = any(name in other.after for other in self.containers.values())
        deadline = time.monotonic() + seconds
        while awaited and not self._is_ready(container):
            assert time.monotonic() < deadline, f"{name} did not become ready:\n{self.log(name)}"
            time.sleep(0.3)

    def _is_ready(self, container: Container) -> bool:
        assert container.process is not None
        code = container.process.poll()
        if container.once:
            assert code in (None, 0), f"{container.name} failed:\n{self.log(container.name)}"
            return code == 0
        assert code is None, f"{container.name} ended with {code}:\n{self.log(container.name)}"
        return self.run(container.name, *container.health).returncode == 0

    def _databases(self) -> None:
        env = self.containers["postgres"].env
        script = self.site / "include" / "deploy" / "postgres" / "databases.sh"
        subprocess.run(["sh", str(script)], env=env, check=True, capture_output=True, cwd=self.site)

    def _keep(self) -> None:
        while True:
            with self._keeping:
                if self._stopped:
                    return
                for container in self.containers.values():
                    ended = container.process is not None and container.process.poll() is not None
                    if ended and not container.once:
                        self._launch(container)
            time.sleep(0.5)

    def _end(self, container: Container, number: signal.Signals, seconds: float) -> None:
        process = container.process
        if process is None or process.poll() is not None:
            return
        session = _session(process.pid)
        for pid in session if number == signal.SIGKILL else [process.pid]:
            _signal(pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        for pid in _session(process.pid):
            _signal(pid, signal.SIGKILL)
        process.wait(10)


def _owner(port: str, owner: str) -> str:
    """Return whose port a loopback address of the file means: its own, or what it publishes."""
    by_port = {
        "8080": "airflow-apiserver",
        "5000": "mlflow",
        "8000": "serving",
        "8001": "evidently",
        "8333": "storage",
    }
    return by_port.get(port, owner)


def _strings(environment: Mapping[str, Any]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in environment.items()}


def _session(leader: int) -> list[int]:
    """Return the processes of a session, and those that its members started outside it, children first."""
    import psutil

    found: dict[int, None] = {}
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader:
                found.update(dict.fromkeys([*(c.pid for c in process.children(recursive=True)), process.pid]))
        except (OSError, psutil.Error):
            continue
    return list(found)


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _empty(disk: Path, *, keep: bool) -> None:
    """Leave a service the disk of a new container."""
    for found in disk.iterdir() if disk.exists() else ():
        if not (keep and found.name == "data"):
            shutil.rmtree(found)
    for name in ("data/home", "data/tmp", "airflow", "logs", "site"):
        (disk / name).mkdir(parents=True, exist_ok=True)
