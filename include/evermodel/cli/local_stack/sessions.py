"""Process sessions: find every process of one, also daemonised children, and end them all."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

Processes = list[psutil.Process]


def members(*sessions: int) -> Processes:
    """Return the living processes of sessions, and what they have started outside them."""
    found = {
        process.pid: process for process in psutil.process_iter() if _session_of(process.pid) in sessions
    }
    for process in list(found.values()):
        try:
            found.update((child.pid, child) for child in process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
    return [process for process in found.values() if _alive(process)]


def end(graces: Mapping[int, float]) -> None:
    """End every process of some sessions: ask first, and kill what is left after the grace.

    Parameters
    ----------
    graces
        For each session, whose id is the process id of its first process, the seconds that its processes have to end
        by themselves.
    """
    asked = time.monotonic()
    known = {session: members(session) for session in graces}
    for session in graces:
        _signal_group(session, signal.SIGTERM)
    while known:
        for session, before in list(known.items()):
            # A process may have left its session, or fork while it is being killed.
            living = {process.pid: process for process in [*before, *members(session)] if _alive(process)}
            known[session] = list(living.values())
            if not living:
                del known[session]
            elif time.monotonic() - asked > graces[session]:
                _kill(known[session])
        time.sleep(0.05)


def holding(session: int, folder: Path) -> Processes:
    """Return the processes of a session that have a file of a folder open.

    Process ids are used again, so an id that was written down once proves nothing; an open log file does.
    """
    return [process for process in members(session) if _has_open(process, folder)]


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _has_open(process: psutil.Process, folder: Path) -> bool:
    try:
        return any(Path(file.path).is_relative_to(folder) for file in process.open_files())
    except psutil.Error:
        return False


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _kill(processes: Processes) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=1)
