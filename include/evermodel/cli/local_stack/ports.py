"""Ports of the local stack, and the processes that occupy them."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields

import psutil

from evermodel.core.errors import PermanentError

LOOPBACK = "127.0.0.1"


class PortTakenError(PermanentError):
    """Another program listens on a port that the stack needs."""


@dataclass(frozen=True)
class Ports:
    """Ports of the services, all on the loopback interface.

    Each has an environment variable: ``PORT_AIRFLOW``, ``PORT_MLFLOW``, ``PORT_SERVING``.
    """

    airflow: int = 8080
    mlflow: int = 5000
    serving: int = 8000

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Ports:
        """Read the ports from the environment; raises `PermanentError` if a variable holds no port number."""
        env = os.environ if environ is None else environ
        return cls(**{f.name: _port_of(env, variable_of(f.name), int(str(f.default))) for f in fields(cls)})

    @classmethod
    def unused(cls) -> Ports:
        """Pick three ports that are free now."""
        return cls(*(free_port() for _ in fields(cls)))

    def require_free(self) -> None:
        """Raise `PortTakenError`, naming every port that is taken, unless all are free."""
        taken = [
            (f.name, getattr(self, f.name)) for f in fields(self) if not port_is_free(getattr(self, f.name))
        ]
        if taken:
            raise PortTakenError(
                "; ".join(f"port {port} is in use{_listener(port)}" for _, port in taken),
                "stop it, or set " + " and ".join(f"{variable_of(name)}={free_port()}" for name, _ in taken),
            )


def variable_of(service: str) -> str:
    """Return the environment variable that sets a service's port."""
    return f"PORT_{service.upper()}"


def port_is_free(port: int) -> bool:
    """Tell whether a server could listen on a loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a connection that lingers after its server has ended does not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port(preferred: int = 0) -> int:
    """Return the preferred port when it is free, otherwise another free one."""
    if preferred and port_is_free(preferred):
        return preferred
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _port_of(env: Mapping[str, str], variable: str, default: int) -> int:
    text = env.get(variable, "").strip() or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise PermanentError(f"{variable}={text} is not a port", "use a whole number from 1 to 65535")
    return int(text)


def _listener(port: int) -> str:
    """Return the process that listens on a port, if this user may see it."""
    try:
        found = next(
            c.pid
            for c in psutil.net_connections(kind="tcp")
            if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port and c.pid
        )
        return f" by process {found} ({psutil.Process(found).name()})"
    except (psutil.Error, OSError, StopIteration):
        return ""
