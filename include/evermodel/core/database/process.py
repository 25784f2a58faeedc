"""The identity of a process, by which another one on the same machine sees that it no longer runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str:
    """Return host, machine, number and start of this process, in one line of at most 255 characters."""
    pid = os.getpid()
    return f"{socket.gethostname()[:120]} {_machine()} {pid} {_start(pid) or 'unknown'}"


def is_gone(process: str) -> bool:
    """Tell whether a process ran on this machine and ended; False if that cannot be known."""
    try:
        _, machine, pid, start = process.split(" ")
        number = int(pid)
    except ValueError:
        return False
    return machine == _machine() != "unknown" and start != "unknown" and _start(number) != start


def _machine() -> str:
    """Return what two processes have in common that see each other's numbers: the boot, and the PID namespace."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:  # not Linux
        return "unknown"


def _start(pid: int) -> str:
    """Return when a process started, in the kernel's ticks since the boot; empty if it does not run."""
    try:
        fields = (
            (_PROC / str(pid) / "stat")
            .read_text(encoding="utf-8", errors="replace")
            .rpartition(")")[2]
            .split()
        )
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
