"""What a benchmark found: a table for people and one JSON object for machines."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """One benchmark's result.

    Parameters
    ----------
    peer
        What it was measured against.
    ratios
        Peer divided by ours; larger is better.
    figures
        Plain numbers, each with its unit in its name.
    header, rows
        The table for people.
    notes
        What one has to know to read the table.
    """

    peer: str
    ratios: Mapping[str, float]
    figures: Mapping[str, float]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def table(self) -> str:
        """Return the table, its columns aligned, and the notes below it."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
        ]
        text.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*(line.rstrip() for line in text), *self.notes])

    def to_json(self, name: str) -> str:
        """Return the one line that machines read."""
        return json.dumps(
            {
                "benchmark": name,
                "peer": self.peer,
                "ratios": {key: _short(value) for key, value in self.ratios.items()},
                "figures": {key: _short(value) for key, value in self.figures.items()},
                "machine": machine(),
            }
        )


def machine() -> str:
    """Describe this machine: processor, cores, memory, Python."""
    names = Path("/proc/cpuinfo")
    model = platform.processor() or platform.machine()
    if names.exists():
        found = [
            line.partition(":")[2].strip() for line in names.read_text().splitlines() if "model name" in line
        ]
        model = found[0] if found else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB, Python {platform.python_version()}"


def _short(value: float) -> float:
    return float(f"{value:.4g}")
