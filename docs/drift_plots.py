"""Draw the pictures of docs/drift.md from the replays: ``python docs/drift_plots.py [flights] [ridership]``; both if none is named."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))

from benchmarks import replay_ridership  # noqa: E402
from benchmarks.replay_plots import draw  # noqa: E402
from tests.simulations import replay_flights  # noqa: E402

IMAGES = Path(__file__).parent / "images"
READ = "effect (dots; yellow warning, red critical) and threshold (line)"


def flights(folder: Path) -> Path:
    """Draw the flights of 2013 in windows of seven days; a quarter of an hour on 2 cores."""
    training, trailing = (
        replay_flights.replays(folder, setting)
        for setting in replay_flights.SETTINGS
        if setting.window == "7d"
    )
    rows = {
        f"{column} against training": (training, column) for column in ("carrier", "dest", "temp", "pressure")
    }
    rows["temp against the eight weeks before"] = (trailing, "temp")
    rows["score, against the first eight weeks of answers"] = (training, "score")
    return draw(rows, IMAGES / "drift-flights.png", f"Flights of 2013, windows of 7 days: {READ}")


def ridership(folder: Path) -> Path:
    """Draw the ridership in Chicago against its three references; a few minutes."""
    found = replay_ridership.replays(folder)
    if isinstance(found, str):
        raise SystemExit(found)
    rows = {f"temp against {kind}": (weeks, "temp") for kind, weeks in found.items()}
    rows["ridership against season"] = (found["season"], "ridership")
    title = f"Chicago 2008 to 2016, windows of four weeks: {READ}"
    return draw(rows, IMAGES / "drift-ridership.png", title)


PLOTS: dict[str, Callable[[Path], Path]] = {"flights": flights, "ridership": ridership}


def main(names: list[str]) -> None:
    """Replay and draw."""
    for name in names or PLOTS:
        with tempfile.TemporaryDirectory() as folder:
            print(PLOTS[name](Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
