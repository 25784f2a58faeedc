"""Replay the drift verdict day by day over real tables: ``python -m benchmarks.replay flights`` (or ``ridership``, ``calm``)."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.simulations import quiet_days, replay_flights

from benchmarks import replay_ridership


def main(arguments: list[str]) -> int:
    """Run one replay by name, or all of them."""
    replays: dict[str, Callable[[Path], str]] = {
        "calm": lambda folder: quiet_days.run(),
        "flights": replay_flights.run,
        "ridership": replay_ridership.run,
    }
    names = arguments or list(replays)
    unknown = [name for name in names if name not in replays]
    if unknown:
        print(f"there is no replay {', '.join(unknown)}; there are: {', '.join(replays)}", file=sys.stderr)
        return 2
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            print(replays[name](Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
