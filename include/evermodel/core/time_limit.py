"""Run work in a child process, killed at its time limit."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeVar, cast

from evermodel.core.errors import EvermodelError, TrainingError

T = TypeVar("T")
Emit = Callable[[Any], None]

_PAUSE_HARD = 2  # omp_pause_hard of OpenMP 5.0
_PR_SET_PDEATHSIG = 1  # of Linux' prctl


def run_limited(
    work: Callable[[Emit], T], seconds: float, name: str, on_event: Emit = lambda event: None
) -> T:
    """Do work in a forked child and return what it returns; both travel as pickles.

    The child computes only: connections of this process (MLflow, Airflow) are not used in it. Where there is no safe
    fork (anything but Linux) the work is done here, without a limit.

    Parameters
    ----------
    work
        Called with a function that hands events to ``on_event`` of this process as they come.
    seconds
        After that the child and its processes are killed.

    Raises
    ------
    TrainingError
        The time is over, or the work throws, or the child dies.
    """
    if sys.platform != "linux":
        return work(on_event)
    _release_openmp()
    receiving, sending = Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 sees the idle threads of BLAS
        child = os.fork()
    if child == 0:
        receiving.close()
        _work_and_exit(work, sending, name)
    os.setpgid(child, child)
    sending.close()
    try:
        return cast(T, _wait(receiving, child, seconds, name, on_event))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
        receiving.close()


def _wait(receiving: Connection, child: int, seconds: float, name: str, on_event: Emit) -> Any:
    end = time.monotonic() + seconds
    while True:
        if not receiving.poll(max(0.0, end - time.monotonic())):
            raise TrainingError(
                f"{name} exceeded its time limit ({_duration(seconds)})",
                "raise its `time_limit` or reduce its work; the other candidates continue",
            )
        try:
            kind, value = receiving.recv()
        except EOFError:
            raise TrainingError(
                f"{name}: its process died ({_end_of(child)})",
                "see the log above; signal 9 usually means out of memory",
            ) from None
        if kind == "error":
            raise value
        if kind == "done":
            return value
        on_event(value)


def _work_and_exit(work: Callable[[Emit], Any], sending: Connection, name: str) -> None:
    code = 1
    try:
        gc.freeze()  # what this process left behind may belong to threads that the child does not have
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # If this process' parent is killed, no other process would end it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        try:
            sending.send(("done", work(lambda event: sending.send(("event", event)))))
        except EvermodelError as error:
            sending.send(("error", error))
        except Exception as error:  # noqa: BLE001 - an estimator is third-party code and may raise anything
            told = TrainingError(f"{name} failed: {type(error).__name__}: {error}", "correct its `params`")
            sending.send(("error", told))
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _release_openmp() -> None:
    """End the idle OpenMP threads of this process; a child would wait for them forever."""
    from threadpoolctl import threadpool_info

    for library in threadpool_info():
        if library["user_api"] == "openmp":
            pause = getattr(ctypes.CDLL(library["filepath"]), "omp_pause_resource_all", None)
            if pause is not None:
                pause(_PAUSE_HARD)


def _end_of(child: int) -> str:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"
