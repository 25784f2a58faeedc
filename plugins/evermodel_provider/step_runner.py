"""Where a step runs: in the task's own process, or in another interpreter on the worker; operators and sensors ask here alone."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

from evermodel import __version__
from evermodel.core.errors import ApprovalError, SourceError, StepCrashedError, StepInterpreterError
from evermodel.core.step_contract import StepAnswer, StepRequest
from evermodel.spec import load_spec, spec_folder
from evermodel_provider.connections import AirflowConnections
from evermodel_provider.hooks.tracking import TrackingHook

if TYPE_CHECKING:
    from evermodel.core.settings import Settings
    from evermodel.spec import ModelSpec
    from evermodel.spec.window import Window

Kind = Literal["training", "scoring", "drift", "registry"]

_LEVEL = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)", re.S)
# Airflow's own settings hold secrets that no step needs; a connection is handed over only if the spec names it.
_AIRFLOWS_OWN = ("AIRFLOW__", "_AIRFLOW", "AIRFLOW_CONN_", "AIRFLOW_VAR_")
_OTHER_PYTHONS = ("PYTHONHOME", "VIRTUAL_ENV")
_SECONDS_TO_END = 10
_LAST_LINES = 5


class StepRunner(Protocol):
    """Runs steps."""

    def run(
        self, name: str, request: StepRequest, *, force_reason: str | None = None, waived: bool = False
    ) -> dict[str, Any]:
        """Run a step and return its result.

        :param force_reason: Why the challenger ships regardless of the gates; the caller has checked who says so.
        :param waived: Whether the version needs no approval although the spec requires one; likewise.
        """

    def stop(self) -> None:
        """End what runs, because the task is killed."""


def python_of(spec: ModelSpec, kind: Kind, settings: Settings) -> str:
    """Return the interpreter of a kind of steps: the spec's, else the installation's; empty for the task's own process."""
    resources = spec.resources
    return getattr(resources, kind).python or resources.python or settings.step_python


def step_runner(spec: ModelSpec, kind: Kind, hook: TrackingHook, log: Any) -> StepRunner:
    """Return what runs the steps of a kind.

    :param log: Logger of the task.
    """
    python = python_of(spec, kind, hook.settings)
    return InterpreterRunner(python, spec, hook, log) if python else OwnProcessRunner(spec, hook)


class OwnProcessRunner:
    """Runs steps in the task's own process."""

    def __init__(self, spec: ModelSpec, hook: TrackingHook) -> None:
        self._spec = spec
        self._hook = hook

    def run(
        self, name: str, request: StepRequest, *, force_reason: str | None = None, waived: bool = False
    ) -> dict[str, Any]:
        """Run a step and return its result."""
        from evermodel.pipelines.steps import StepWork, run_step

        hook = self._hook
        work = StepWork(self._spec, request, hook.get_conn, hook.settings, force_reason, waived)
        return run_step(name, work)

    def stop(self) -> None:
        """Do nothing: the step ends with the task."""


class InterpreterRunner:
    """Runs each step as `evermodel step` in another interpreter: the request on stdin, the answer on stdout, live logs.

    Credentials go to it in its environment, and nowhere else.
    """

    def __init__(self, python: str, spec: ModelSpec, hook: TrackingHook, log: Any) -> None:
        self._python = python
        self._spec = spec
        self._hook = hook
        self._log = log
        self._child: subprocess.Popen[str] | None = None
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    def run(
        self, name: str, request: StepRequest, *, force_reason: str | None = None, waived: bool = False
    ) -> dict[str, Any]:
        """Run a step and return its result; its error is raised as if it had run here."""
        if force_reason or waived:
            refuse_consent(self._spec, self._python)
        self._log.info("Step %s runs in %s", name, self._python)
        text, code = self._communicate(name, request.dumps())
        if not text.strip():
            raise self._without_answer(name, code)
        answer = StepAnswer.loads(text)
        if answer.evermodel != __version__:
            self._log.warning(
                "%s has evermodel %s, this worker has %s", self._python, answer.evermodel, __version__
            )
        return answer.value()

    def stop(self) -> None:
        """Kill the process of the step, and all that it started."""
        child = self._child
        if child is not None and child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait(_SECONDS_TO_END)

    def _communicate(self, name: str, request: str) -> tuple[str, int]:
        """Return what the process answers, and its exit code; the log goes on while it runs."""
        child = self._start(name)
        assert child.stdin
        assert child.stdout
        assert child.stderr
        answer: list[str] = []
        readers = [
            threading.Thread(target=_read, args=[child.stderr, self._forward], daemon=True),
            threading.Thread(target=_read, args=[child.stdout, answer.append], daemon=True),
        ]
        try:
            for reader in readers:
                reader.start()
            with suppress(BrokenPipeError), child.stdin:
                child.stdin.write(request)
            code = child.wait()
            for reader in readers:  # a process that the step left behind may hold the pipes open
                reader.join(_SECONDS_TO_END)
        finally:
            self.stop()
        return "".join(answer), code

    def _start(self, name: str) -> subprocess.Popen[str]:
        command = [self._python, "-m", "evermodel.cli", "step", name, "--parent", str(os.getpid())]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment(),
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise StepInterpreterError(
                f"{self._python} cannot be started ({error.strerror}), so the step {name} cannot run",
                'make a virtual environment there with pip install "evermodel[train,dvc]", or correct `resources.python`',
            ) from error
        return self._child

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_AIRFLOWS_OWN) and name not in _OTHER_PYTHONS
        }
        path = f"{Path(self._python).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        secrets = {**self._hook.environment(), **connection_variables(self._spec)}
        return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", **secrets}

    def _forward(self, line: str) -> None:
        text = line.rstrip()
        if not text:
            return
        self._last.append(text)
        found = _LEVEL.fullmatch(text)
        level, said = (found[1], found[2]) if found else ("INFO", text)
        self._log.log(getattr(logging, level), "%s", said)

    def _without_answer(self, name: str, code: int) -> StepCrashedError | StepInterpreterError:
        said = " / ".join(self._last) or "no output"
        if code < 0:
            return StepCrashedError(
                f"the process of the step {name} died (signal {-code})",
                "see the log above; signal 9 usually means out of memory",
            )
        return StepInterpreterError(
            f"{self._python} cannot run the step {name} (exit code {code}): {said}",
            f'install the same release there: {self._python} -m pip install "evermodel[train,dvc]=={__version__}"',
        )


def ready(step: str, kind: Kind, model: str, window: Window, log: Any) -> dict[str, Any]:
    """Return whether the data of a window is ready, what was found and what is missing.

    :param step: ``source_ready`` or ``predictions_ready``.
    :param model: Name of a model spec, or path of its YAML file.
    """
    hook = TrackingHook(models=spec_folder(model))
    ends = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    request = StepRequest(model, ends["end"], inputs=ends)
    return step_runner(load_spec(model, hook.settings), kind, hook, log).run(step, request)


def refuse_consent(spec: ModelSpec, python: str) -> None:
    """Refuse to overrule gates or approvals in another process, which cannot know who started the run.

    :raises ApprovalError: Always.
    """
    raise ApprovalError(
        f"model {spec.name}: this run forces the challenger or waives its approval, which steps in {python} take from nobody",
        f"start it without, then run evermodel promote {spec.name} VERSION --force or --approve as an approver",
    )


def connection_variables(spec: ModelSpec) -> dict[str, str]:
    """Return the connections of a spec as variables that Airflow and evermodel read (``AIRFLOW_CONN_<ID>``)."""
    found = {}
    named = (getattr(source, "connection", None) for source in spec.sources)
    for name in filter(None, (*named, spec.score.connection)):
        with suppress(SourceError):  # a step that needs it says so itself
            found[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(AirflowConnections().fields(name))
    return found


def _read(lines: IO[str], take: Callable[[str], None]) -> None:
    with lines:
        for line in lines:
            take(line)
