"""Another interpreter for a step: what it is given, what comes back, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from evermodel.core.errors import (
    EmptyWindowError,
    StepContractError,
    StepCrashedError,
    StepInterpreterError,
    TrackingUnavailableError,
    ValidationError,
)
from evermodel.core.step_contract import StepAnswer, StepRequest, error_to_json
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.step_runner import InterpreterRunner, OwnProcessRunner, python_of, step_runner
from support.flights import flights_world
from support.small_spec import small_spec

REQUEST = StepRequest("small", "2013-03-11", "key", "why", {"snapshot": {"path": "a"}})
LOG = logging.getLogger("task")
Interpreter = Callable[[str], InterpreterRunner]


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """Make a runner whose interpreter is a few lines of Python."""

    def make(body: str) -> InterpreterRunner:
        program = tmp_path / "python"
        program.write_text(f"#!{sys.executable} -S\nimport json, os, sys\n{body}\n")
        program.chmod(0o755)
        sales = {"kind": "sql", "connection": "sales", "query": "SELECT 1"}
        return InterpreterRunner(str(program), small_spec(source=sales), TrackingHook(), LOG)

    return make


def answering(**ending: Any) -> str:
    text = StepAnswer("extract", "0.1.0", **ending).dumps()
    return f"print({text!r})"


def gone(pid: int) -> bool:
    """Tell whether a process has ended; one that nobody has waited for yet counts too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except OSError:
        return True


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_request_and_credentials_arrive_and_the_latter_only_in_the_environment(
    interpreter: Interpreter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_MLFLOW_DEFAULT",
        json.dumps({"conn_type": "mlflow", "host": "mlflow", "login": "me", "password": "s3cr3t"}),
    )
    monkeypatch.setenv("AIRFLOW_CONN_SALES", "postgres://ada:pa55@db:5432/shop")
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "postgres://ada:0ther@db/other")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "k3y")
    body = """
heard = {"request": json.loads(sys.stdin.read()), "arguments": sys.argv[1:], "environment": dict(os.environ)}
print("WARNING mlflow: slow", file=sys.stderr)
print("plain words", file=sys.stderr)
print(json.dumps({"contract": 1, "step": "extract", "evermodel": "0.0.9", "result": heard}))
"""
    with caplog.at_level(logging.INFO):
        heard = interpreter(body).run("extract", REQUEST)

    assert heard["request"] == {"contract": 1, **vars(REQUEST)}
    assert heard["arguments"] == ["-m", "evermodel.cli", "step", "extract", "--parent", str(os.getpid())]
    environment = heard["environment"]
    assert environment["MLFLOW_TRACKING_URI"] == "http://me:s3cr3t@mlflow"
    assert json.loads(environment["AIRFLOW_CONN_SALES"])["password"] == "pa55"
    assert not [name for name in environment if name.startswith("AIRFLOW__")]
    assert not {"AIRFLOW_CONN_OTHER", "AIRFLOW_CONN_MLFLOW_DEFAULT"} & set(environment)
    assert ("task", logging.WARNING, "mlflow: slow") in caplog.record_tuples
    assert ("task", logging.INFO, "plain words") in caplog.record_tuples
    assert "has evermodel 0.0.9" in caplog.text
    assert not any(secret in caplog.text for secret in ("s3cr3t", "pa55"))


@pytest.mark.slow
def test_an_image_without_airflow_gives_results_and_errors_that_pass_or_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line as it stands, in an environment that cannot import Airflow: that of a pod, or of a second interpreter."""
    world = flights_world(tmp_path, "http://127.0.0.1:1", "flights")
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    hidden = "import sys\nsys.modules.update(airflow=None, evermodel_provider=None)\n"
    (tmp_path / "sitecustomize.py").write_text(hidden)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    runner = InterpreterRunner(str(python), world.spec, TrackingHook(), LOG)
    ends = {"start": "2013-03-10T00:00:00+00:00", "end": "2013-03-11T00:00:00+00:00"}

    assert runner.run("source_ready", StepRequest(world.name, "2013-03-11", inputs=ends))["ready"] is True
    with pytest.raises(AirflowFailException, match="lacks the input start"), airflow_errors():
        runner.run("source_ready", StepRequest(world.name, "2013-03-11"))
    with pytest.raises(TrackingUnavailableError), airflow_errors():  # as it is: Airflow tries again
        runner.run("extract", StepRequest(world.name, "2013-03-11", "key", "why"))


def test_logs_come_while_the_step_runs(interpreter: Interpreter, caplog: pytest.LogCaptureFixture) -> None:
    runner = interpreter(
        "print('INFO begun', file=sys.stderr)\nimport time\nwhile not os.path.exists(sys.argv[0] + '.go'): time.sleep(0.01)\n"
        + answering(result={})
    )
    with caplog.at_level(logging.INFO):
        running = threading.Thread(target=runner.run, args=["extract", REQUEST])
        running.start()
        until(lambda: "begun" in caplog.text)
        assert running.is_alive()
        Path(f"{runner._python}.go").touch()
        running.join(30)
    assert not running.is_alive()


def test_errors_are_raised_as_they_were_there(interpreter: Interpreter) -> None:
    known = EmptyWindowError("no rows", "wait")
    with pytest.raises(EmptyWindowError) as caught:
        interpreter(answering(error=error_to_json(known))).run("extract", REQUEST)
    assert str(caught.value) == str(known)

    failed = ValidationError("3 checks", "look")
    failed.failed = 3
    with pytest.raises(ValidationError) as wrong:
        interpreter(answering(error=error_to_json(failed))).run("extract", REQUEST)
    assert wrong.value.failed == 3

    class OfALaterReleaseError(TrackingUnavailableError):
        pass

    with pytest.raises(TrackingUnavailableError, match="away"):
        interpreter(answering(error=error_to_json(OfALaterReleaseError("away")))).run("extract", REQUEST)
    with pytest.raises(StepCrashedError, match="the step extract failed: ZeroDivisionError: by 0"):
        interpreter(answering(error=error_to_json(ZeroDivisionError("by 0")))).run("extract", REQUEST)


def test_what_ends_without_an_answer_is_told(interpreter: Interpreter, tmp_path: Path) -> None:
    with pytest.raises(StepInterpreterError, match="exit code 1") as nothing:
        interpreter("sys.exit('No module named evermodel')").run("extract", REQUEST)
    assert "No module named evermodel" in nothing.value.problem
    assert "-m pip install" in nothing.value.advice
    with pytest.raises(StepCrashedError, match="died \\(signal 9\\)"):
        interpreter("os.kill(os.getpid(), 9)").run("extract", REQUEST)
    with pytest.raises(StepContractError, match="follows contract 2, and this release knows contract 1"):
        interpreter("print(json.dumps({'contract': 2}))").run("extract", REQUEST)
    with pytest.raises(StepInterpreterError, match="No such file or directory"):
        InterpreterRunner(str(tmp_path / "none"), small_spec(), TrackingHook(), LOG).run("extract", REQUEST)


def test_a_killed_task_kills_the_step_and_what_it_started(interpreter: Interpreter, tmp_path: Path) -> None:
    body = f"""
import subprocess
child = subprocess.Popen(["sleep", "600"])
open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}\\n")
child.wait()
"""
    runner, raised = interpreter(body), []

    def run() -> None:
        try:
            runner.run("extract", REQUEST)
        except StepCrashedError as error:
            raised.append(error)

    running = threading.Thread(target=run)
    running.start()
    until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("\n"))
    runner.stop()
    running.join(30)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    until(lambda: all(gone(pid) for pid in pids))
    assert "signal 9" in str(raised[0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends the step")
def test_a_step_ends_with_a_task_that_is_killed_at_once() -> None:
    task = (
        "import os, subprocess, sys, time\n"
        "step = [sys.executable, '-m', 'evermodel.cli', 'step', 'extract', '--parent', str(os.getpid())]\n"
        "child = subprocess.Popen(step, stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", task], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        child = int(running.stdout.readline())
        # It waits for its request by now, or is about to see that its parent is gone: it ends in both cases.
        running.send_signal(signal.SIGKILL)
    until(lambda: gone(child))


def test_the_spec_and_the_installation_choose_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_STEP_PYTHON", "/all/python")
    hook = TrackingHook()
    plain = small_spec()
    chosen = small_spec(resources={"python": "/spec/python", "drift": {"python": "/drift/python"}})
    assert python_of(plain, "training", hook.settings) == "/all/python"
    assert python_of(chosen, "training", hook.settings) == "/spec/python"
    assert python_of(chosen, "drift", hook.settings) == "/drift/python"
    monkeypatch.delenv("EVERMODEL_STEP_PYTHON")
    assert isinstance(step_runner(plain, "training", TrackingHook(), LOG), OwnProcessRunner)
    assert isinstance(step_runner(chosen, "registry", TrackingHook(), LOG), InterpreterRunner)
