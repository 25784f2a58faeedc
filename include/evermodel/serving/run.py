"""Run the serving app with uvicorn, in one process or in several."""

from __future__ import annotations

import gc
import ipaddress
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import PermanentError, SpecError
from evermodel.registry.tracking import configure_mlflow_process
from evermodel.serving.app import create_app
from evermodel.serving.auth import TOKENS, TOKENS_FILE, Tokens
from evermodel.serving.lines import write_lines
from evermodel.serving.metrics import BORN, GROUP

if TYPE_CHECKING:
    from fastapi import FastAPI

_LOG = logging.getLogger(__package__)
_ARGUMENTS = "EVERMODEL_SERVE_ARGUMENTS"  # from the parent process to its workers
_GRACE = 10
_NOT_STARTED = 3  # uvicorn's exit code; the error is in its log
# A worker that loads a model may not respond for a while.
_WORKER_SECONDS = 60


class AddressTakenError(PermanentError):
    """The app cannot listen on its address."""


@dataclass(frozen=True)
class _Arguments:
    models: list[str]
    poll_seconds: float
    access_log: bool

    def app(self) -> FastAPI:
        """Build the app of one process."""
        tokens = Tokens.from_environment()
        return create_app(
            self.models,
            None,
            self.poll_seconds,
            tokens=tokens,
            access_log=self.access_log,
            # A search for cycles among all that the imports left behind would delay requests by 0.2 s.
            on_started=gc.freeze,
        )


def serve(
    models: list[str],
    host: str = "127.0.0.1",
    port: int = 8000,
    poll_seconds: float = 2.0,
    *,
    workers: int = 1,
    access_log: bool = False,
    limit_concurrency: int | None = None,
) -> None:
    """Serve models until the process is stopped, which writes the prediction log.

    Parameters
    ----------
    models
        Names (or spec files) of the models to serve.
    host
        Address to listen on; the default is reachable from this machine only.
    workers
        Number of processes; they share the port and switch versions together.
    limit_concurrency
        Most connections of one process; further ones get a 503.

    Raises
    ------
    SpecError
        A spec, a fallback rule or the tokens are not valid.
    AddressTakenError
        The port is in use, or the address is not one of this machine.
    """
    import uvicorn

    if workers < 1:
        raise SpecError(f"--workers {workers} is less than 1", "set it to 1 or more")
    _prepare()
    arguments = _Arguments(models, poll_seconds, access_log)
    app = arguments.app()  # with several workers only to fail before they start
    _warn_if_open(host)
    options: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "timeout_graceful_shutdown": _GRACE,
        "limit_concurrency": limit_concurrency,
        "http": f"{__package__}.connection:PatientConnection",
        "ws": "none",
        "server_header": False,
    }
    with _listening(host, port) as listener:
        if workers > 1:
            _serve_together(arguments, workers, listener, options)
            return
        server = uvicorn.Server(uvicorn.Config(app, **options))
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])
    if not server.started:
        raise SystemExit(_NOT_STARTED)


def worker_app() -> FastAPI:
    """Build the app of a worker, with the arguments in the environment."""
    _prepare()
    return _Arguments(**json.loads(os.environ[_ARGUMENTS])).app()


def _serve_together(
    arguments: _Arguments, workers: int, listener: socket.socket, options: dict[str, Any]
) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    group = Path(tempfile.mkdtemp(prefix="evermodel-metrics-"))
    (group / BORN).touch()
    os.environ[GROUP], os.environ[_ARGUMENTS] = str(group), json.dumps(asdict(arguments))
    try:
        config = uvicorn.Config(
            f"{__name__}:worker_app",
            factory=True,
            workers=workers,
            timeout_worker_healthcheck=_WORKER_SECONDS,
            **options,
        )
        Multiprocess(config, sockets=[listener]).run()
    finally:
        shutil.rmtree(group, ignore_errors=True)


def _prepare() -> None:
    configure_mlflow_process()
    write_lines()
    # How long, in seconds, the thread that loads a version may hold the interpreter before a request gets it; a request
    # takes it several times, so with 1 ms instead its p99 doubles during a swap.
    sys.setswitchinterval(0.00005)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise AddressTakenError(
            f"cannot listen on {host}:{port}: {reason}",
            "stop the process that uses the port, or set another --port",
        ) from error
    listener.set_inheritable(True)
    _LOG.info("event=listening host=%s port=%d", host, listener.getsockname()[1])
    return listener


def _warn_if_open(host: str) -> None:
    if _only_here(host) or Tokens.from_environment() is not None:
        return
    _LOG.warning(
        'event=open_to_all host=%s message="requests need no token; set %s or %s, or listen on 127.0.0.1"',
        *(host, TOKENS, TOKENS_FILE),
    )


def _only_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
