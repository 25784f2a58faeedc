"""The supervisor against real processes: order, health, errors, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from evermodel.cli.local_stack import sessions
from evermodel.cli.local_stack.ports import free_port
from evermodel.cli.local_stack.processes import Service, ServiceError, Supervisor
from evermodel.core.errors import PermanentError

pytestmark = pytest.mark.server  # it starts processes
SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def service(name: str, code: str, health: object = None, **options: object) -> Service:
    command = (sys.executable, "-S", "-c", textwrap.dedent(code))
    return Service(name, command, dict(os.environ), health, **options)  # type: ignore[arg-type]


def log_says(home: Path, name: str, word: str) -> Callable[[float], bool]:
    log = home / "logs" / f"{name}.log"
    return lambda started: log.exists() and word in log.read_text(encoding="utf-8")


def pid_of(home: Path, name: str) -> int:
    return int(json.loads((home / "services.json").read_text(encoding="utf-8"))[name])


def gone(pid: int) -> bool:
    """A zombie has ended; only its parent has not asked for its exit code."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_services_start_in_their_order_and_all_end(tmp_path: Path) -> None:
    order: list[str] = []
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(
            [
                service("server", SLEEP, log_says(tmp_path, "server", "up"), after=("database",)),
                service("database", "import time; time.sleep(0.3)"),
                service("other", SLEEP, log_says(tmp_path, "other", "up")),
            ],
            lambda name, seconds: order.append(name),
        )
        assert order.index("database") < order.index("server")
        pids = [pid_of(tmp_path, name) for name in ("server", "other")]
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert all(gone(pid) for pid in pids)
    assert not (tmp_path / "services.json").exists()


def test_a_health_address_is_asked_until_it_answers(tmp_path: Path) -> None:
    port = free_port()
    serve = (sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port))
    with Supervisor(tmp_path) as supervisor:
        supervisor.start([Service("web", serve, dict(os.environ), f"http://127.0.0.1:{port}/")])
        assert "GET / " in supervisor.log_tail("web")


def test_a_service_that_dies_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    dying = service("mlflow", "print('no such database: x.db'); raise SystemExit(3)", lambda started: False)
    with Supervisor(tmp_path) as supervisor, pytest.raises(ServiceError) as caught:
        supervisor.start([dying])
    assert "mlflow ended with code 3" in str(caught.value)
    assert "no such database: x.db" in str(caught.value)


def test_a_failed_start_ends_the_services_that_were_up(tmp_path: Path) -> None:
    up = service("up", SLEEP, log_says(tmp_path, "up", "up"))
    fails = service("fails", "raise SystemExit(1)", after=("up",))
    with Supervisor(tmp_path) as supervisor:
        with pytest.raises(ServiceError, match="fails ended with code 1"):
            supervisor.start([up, fails])
        pid = pid_of(tmp_path, "up")
    assert gone(pid)


def test_a_service_that_never_gets_ready_is_reported(tmp_path: Path) -> None:
    stuck = service("stuck", SLEEP, lambda started: False, deadline=0.5)
    with Supervisor(tmp_path) as supervisor, pytest.raises(ServiceError, match=r"stuck was not ready within"):
        supervisor.start([stuck])


def test_a_service_that_waits_for_nobody_is_an_error(tmp_path: Path) -> None:
    with (
        Supervisor(tmp_path) as supervisor,
        pytest.raises(ServiceError, match="wait for services that are not started"),
    ):
        supervisor.start([service("a", SLEEP, after=("b",))])


def test_a_service_that_ends_later_is_told_once_and_ends_no_other(tmp_path: Path) -> None:
    brief = service(
        "brief", "import time; print('up', flush=True); time.sleep(1)", log_says(tmp_path, "brief", "up")
    )
    other = service("other", SLEEP, log_says(tmp_path, "other", "up"))
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        if len(told) == 2:
            raise KeyboardInterrupt

    with Supervisor(tmp_path) as supervisor:
        supervisor.start([brief, other])
        killer = threading.Timer(3, lambda: os.kill(pid_of(tmp_path, "other"), signal.SIGKILL))
        killer.start()
        with pytest.raises(KeyboardInterrupt):
            supervisor.wait(tell, poll=0.05)
    assert told[0] == f"brief ended with code 0; see {tmp_path / 'logs' / 'brief.log'}; the others go on"
    assert told[1].startswith("other ended with code -9")


def test_children_that_left_their_parent_or_ignore_requests_are_killed(tmp_path: Path) -> None:
    stubborn = """
        import os, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setpgid(0, 0)                      # own group, same session
            if os.fork() > 0:
                os._exit(0)                       # the grandchild has no parent any more
            print("daemon", os.getpid(), flush=True)
        time.sleep(600)
    """
    with Supervisor(tmp_path) as supervisor:
        supervisor.start([service("stubborn", stubborn, log_says(tmp_path, "stubborn", "daemon"), grace=0.3)])
        leader = pid_of(tmp_path, "stubborn")
        daemon = int(supervisor.log_tail("stubborn").split()[1])
        assert os.getsid(daemon) == leader
    assert sessions.members(leader) == []
    assert gone(daemon)


def test_a_home_has_one_supervisor_at_a_time(tmp_path: Path) -> None:
    with Supervisor(tmp_path), pytest.raises(PermanentError, match="already runs"):
        Supervisor(tmp_path).__enter__()


def start_elsewhere(home: Path) -> subprocess.Popen[bytes]:
    code = f"""
        import os, signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us in the background
        from pathlib import Path
        from evermodel.cli.local_stack.processes import Service, Supervisor
        home = Path({str(home)!r})
        ready = lambda started: (home / "logs" / "it.log").read_text() != ""
        with Supervisor(home) as supervisor:
            supervisor.start([Service("it", (sys.executable, "-c", {SLEEP!r}), dict(os.environ), ready)])
            (home / "up").touch()
            supervisor.wait(print)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    wait_until((home / "up").exists)
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything(tmp_path: Path, number: signal.Signals) -> None:
    supervisor = start_elsewhere(tmp_path)
    pid = pid_of(tmp_path, "it")
    supervisor.send_signal(number)
    assert supervisor.wait(20) != 0
    assert gone(pid)


def test_leftovers_of_a_killed_supervisor_are_ended_by_the_next(tmp_path: Path) -> None:
    killed = start_elsewhere(tmp_path)
    pid = pid_of(tmp_path, "it")
    killed.kill()
    killed.wait()
    assert not gone(pid)
    with Supervisor(tmp_path):
        assert gone(pid)


def test_a_process_that_only_has_a_recorded_id_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen(
        [sys.executable, "-c", SLEEP], start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        (tmp_path / "services.json").write_text(json.dumps({"mlflow": stranger.pid}), encoding="utf-8")
        with Supervisor(tmp_path):
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_the_log_of_the_start_before_is_kept(tmp_path: Path) -> None:
    for word in ("first", "second"):
        with Supervisor(tmp_path) as supervisor:
            supervisor.start([service("job", f"print('{word}')")])
    assert (tmp_path / "logs" / "job.log").read_text(encoding="utf-8") == "second\n"
    assert (tmp_path / "logs" / "job.previous.log").read_text(encoding="utf-8") == "first\n"
