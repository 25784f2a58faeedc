"""Programs measured as whole processes: seconds from their start, peak memory, and what they printed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measure:
    """One process: seconds, peak memory in MB, what it printed, and seconds of processor time of all its threads."""

    seconds: float
    memory: float
    said: str
    processor: float = 0.0


def measure(program: str, arguments: Sequence[str | Path], folder: Path) -> Measure:
    """Run a Python program to its end; the kernel tells its peak memory.

    Parameters
    ----------
    folder
        Takes what the program prints.

    Raises
    ------
    RuntimeError
        The program failed.
    """
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    output = folder / "said.txt"
    start = time.perf_counter()
    with output.open("wb") as said:
        process = os.posix_spawn(
            command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, said.fileno(), 1)]
        )
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    if status:
        raise RuntimeError(
            f"the program that begins with {program.strip().splitlines()[0]!r} ended with {status}"
        )
    processor = usage.ru_utime + usage.ru_stime
    return Measure(seconds, usage.ru_maxrss / 1024, output.read_text().strip(), processor)
