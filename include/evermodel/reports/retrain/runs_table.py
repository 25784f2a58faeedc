"""Retrains as a terminal table."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from evermodel.alerts.text import one_line
from evermodel.reports.retrain.runs import RetrainLine
from evermodel.reports.retrain.text import number

_WIDE = 170  # without a terminal


def print_runs(model: str, lines: Sequence[RetrainLine]) -> None:
    """Print one row for each retrain."""
    table = Table(title=f"Retrains of {model}", title_justify="left")
    table.add_column("as of", no_wrap=True)
    table.add_column("reason", max_width=30, overflow="fold")
    table.add_column("candidate", no_wrap=True)
    table.add_column("parameters", max_width=34, overflow="fold")
    for name in ("challenger", "champion", "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("verdict", "outcome", "version"):
        table.add_column(name)
    for line in lines:
        table.add_row(*(Text(one_line(cell)) for cell in _cells(line)))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def _cells(line: RetrainLine) -> tuple[str, ...]:
    gain = number(line.gain, "+")
    if line.gain_low is not None and line.gain_high is not None:
        gain += f" ({number(line.gain_low, '+')} to {number(line.gain_high, '+')})"
    verdict = line.verdict.replace("_", " ")
    return (
        line.as_of,
        line.reason,
        line.candidate,
        " ".join(f"{key}={value}" for key, value in line.params.items()),
        f"{line.metric} {number(line.challenger)}" if line.metric else "-",
        number(line.champion),
        gain,
        f"{verdict}, forced" if line.forced else verdict,
        line.outcome,
        line.version,
    )
