"""A real PostgreSQL server for tests, on a free port of the loopback interface, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evermodel.cli.local_stack.ports import free_port

USER = "tester"


def server_programs() -> Path | None:
    """Where Debian, or the PATH, has the server's programs; None if there is no server, only perhaps a client."""
    folders = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    found = shutil.which("initdb")
    if found:
        folders.append(Path(found).resolve().parent)
    return next((f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()), None)


@contextmanager
def postgres_server() -> Iterator[str]:
    """Start a server and yield its address as `postgres://…`; it is gone afterwards."""
    programs = server_programs()
    assert programs is not None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="evermodel-pg-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        # The server refuses to run as root.
        command: list[str] = []
        if os.geteuid() == 0:
            nobody = 65534
            for owned in (Path(folder), data):
                os.chown(owned, nobody, nobody)
            command = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
        setup = [
            str(programs / "initdb"),
            "-D",
            str(data),
            "-U",
            USER,
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run([*command, *setup, "--locale=C.UTF-8"], check=True, capture_output=True, cwd=folder)
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        )
        options += " -c timezone=America/New_York"  # a zone that is not UTC must change nothing
        control = [*command, str(programs / "pg_ctl"), "-D", str(data), "-w", "-t", "60"]
        log = str(Path(folder) / "log")
        subprocess.run(
            [*control, "-l", log, "-o", options, "start"], check=True, capture_output=True, cwd=folder
        )
        try:
            yield f"postgres://{USER}:not-asked-for@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True, cwd=folder)
