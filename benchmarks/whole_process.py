"""Programs measured as whole processes: seconds from their start, peak memory, and what they printed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# A process of its own, because Linux counts the memory of whoever starts a program as the program's (getrusage(2)).
_STARTER = """
import json, os, sys, time
start = time.perf_counter()
process = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(process, 0)
seconds = time.perf_counter() - start
with open(sys.argv[1], "w") as file:
    json.dump([status, seconds, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime], file)
"""


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
        Takes what the program prints, and the figures.

    Raises
    ------
    RuntimeError
        The program failed.
    """
    command = [sys.executable, "-W", "ignore", "-c", program, *map(str, arguments)]
    output, figures = folder / "said.txt", folder / "figures.json"
    starter = [sys.executable, "-S", "-E", "-c", _STARTER, figures, *command]
    with output.open("wb") as said:
        subprocess.run(starter, stdout=said, check=True)
    status, seconds, memory, processor = json.loads(figures.read_text())
    if status:
        raise RuntimeError(
            f"the program that begins with {program.strip().splitlines()[0]!r} ended with {status}"
        )
    return Measure(seconds, memory, output.read_text().strip(), processor)
