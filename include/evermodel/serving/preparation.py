"""Downloads and checks versions in a process of their own, so that this work shares no interpreter with the answers."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import EvermodelError, TransientError
from evermodel.core.logins import with_login
from evermodel.modeling.scoring.loaded_version import read_served
from evermodel.registry.tracking import configure_mlflow_process
from evermodel.serving.desired_state import RegistrySource
from evermodel.serving.lines import write_lines
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evermodel.registry.client import ModelVersion

_LOG = logging.getLogger(__package__)
_NICE = 15  # a thirtieth of the processor time where answers need all of it
_KILLED_FIRST = "1000"
# Their memory has a bound however many models there are, and a rollback need not wait for one download.
_AT_ONCE = threading.BoundedSemaphore(2)


class PreparationError(TransientError):
    """A version could not be downloaded, or failed a check."""


class PreparingSource(RegistrySource):
    """The registry, with each version downloaded and checked in a process of its own once the app answers.

    Such a process starts for a version that is not in the cache and ends with its work, or as soon as this process
    ends. It costs the memory of MLflow and of the version (180 MB and more), runs at a lower priority, and is the first
    to be killed where memory is short; this process then does the work itself. At most two run at once.

    Parameters
    ----------
    tracking_uri
        Address of the registry; its login is passed on by a pipe.
    """

    def __init__(self, spec: ModelSpec, tracking_uri: str) -> None:
        super().__init__(spec, tracking_uri)
        self.answering = False
        self._stopped = False
        self._running: set[subprocess.Popen[bytes]] = set()

    def download(self, version: ModelVersion, folder: Path) -> dict[str, str]:
        """Put the checked files of a version into a folder, and return their SHA-256.

        Raises
        ------
        PreparationError
            The version cannot be downloaded or loaded, cannot score its example, or differs from what was evaluated.
        """
        if not self.answering:  # nothing to disturb, and no wait for another process to start
            return super().download(version, folder)
        order = {
            "spec": self._spec.canonical(),
            "tracking_uri": with_login(self._tracking_uri),
            "version": version.version,
            "folder": str(folder),
            "path": sys.path,
        }
        with _AT_ONCE:
            try:
                process = _start()
            except OSError as error:
                return self._alone(version, folder, f"no process can be started: {error}")
            answer, code = self._answer(process, json.dumps(order).encode() + b"\n")
        if answer:
            return _files(json.loads(answer))
        if code == -signal.SIGKILL and not self._stopped:
            return self._alone(version, folder, "the process was killed")
        raise PreparationError(
            f"model {self._spec.name}, version {version.version}: the process that loads it ended with {code}",
            "see the log; roll back or retrain",
        )

    def stop(self) -> None:
        """End what is running."""
        self._stopped = True
        for process in tuple(self._running):
            process.kill()

    def _answer(self, process: subprocess.Popen[bytes], order: bytes) -> tuple[bytes, int]:
        self._running.add(process)
        if self._stopped:
            process.kill()
        with process:
            assert process.stdin
            assert process.stdout
            with suppress(BrokenPipeError):
                process.stdin.write(order)  # and left open: the process ends when it is closed
            answer = process.stdout.read()
        self._running.discard(process)
        return answer, process.returncode

    def _alone(self, version: ModelVersion, folder: Path, reason: str) -> dict[str, str]:
        _LOG.warning(
            'event=loaded_in_process model=%s version=%s reason="%s"',
            *(self._spec.name, version.version, reason),
        )
        return super().download(version, folder)


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", __name__],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # Ctrl-C is for this process, which ends the other one. A session of its own, because Linux shares the processor
        # between sessions by the priority of each, and that of this one is the answers'.
        start_new_session=True,
    )


def _files(answer: dict[str, Any]) -> dict[str, str]:
    if "problem" in answer:
        raise PreparationError(answer["problem"], answer["advice"])
    files: dict[str, str] = answer["files"]
    return files


def main() -> None:
    """Carry out one order from standard input, and write the answer to standard output."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what libraries print is no answer
        _yield_to_answers()
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_KILLED_FIRST)
        order = json.loads(sys.stdin.buffer.readline())
        threading.Thread(target=_end_with_parent, daemon=True).start()
        json.dump(_prepared(order), out)


def _yield_to_answers() -> None:
    """Lower the priority of this process, and of its session where Linux schedules by sessions."""
    os.nice(_NICE)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICE))


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _prepared(order: dict[str, Any]) -> dict[str, Any]:
    sys.path[:] = order["path"]  # of the process that answers: both find the same `features.module`
    configure_mlflow_process()
    write_lines()
    version, folder = order["version"], Path(order["folder"])
    try:
        spec = ModelSpec.model_validate(order["spec"])
        source = RegistrySource(spec, order["tracking_uri"])
        registered = source.find(version).version
        assert registered is not None
        files = source.download(registered, folder)
        read_served(spec, version, folder)
    except EvermodelError as error:
        return {"problem": error.problem, "advice": error.advice}
    except Exception as error:  # noqa: BLE001 - told to the process that waits
        return {"problem": f"{type(error).__name__}: {error}", "advice": ""}
    return {"files": files}


if __name__ == "__main__":
    main()
