"""Run one benchmark by name, or all of them: ``python -m benchmarks.run gate``; ``SCALE=small`` for a quick check."""

from __future__ import annotations

import importlib
import importlib.util
import os
import subprocess
import sys

from evermodel.registry.tracking import configure_mlflow_process

# In the order in which they run; one that has no module yet is said to be missing.
NAMES = (
    "validation",
    "drift",
    "wide",
    "calibration",
    "gate",
    "honesty",
    "serving",
    "swap",
    "hostile",
    "scoring",
    "lake",
    "parsing",
    "orchestration",
    "rollout",
    "data",
    "estimators",
    "page",
    "features",
    "online",
    "flights_history",
)
SCALES = ("full", "small")


def main(arguments: list[str]) -> int:
    """Run what was asked for and return the exit code."""
    configure_mlflow_process()
    present = [name for name in NAMES if importlib.util.find_spec(f"benchmarks.{name}")]
    scale = os.environ.get("SCALE") or "full"
    if scale not in SCALES:
        return _refuse(f"SCALE={scale} is not known; use one of {', '.join(SCALES)}")
    if len(arguments) > 1:
        return _refuse(f"name one benchmark, or none for all: {', '.join(present)}")
    if not arguments:
        # A process each, so that one's memory and imports do not count against the next.
        codes = [
            subprocess.run([sys.executable, "-m", "benchmarks.run", name]).returncode for name in present
        ]
        return max(codes, default=0)
    name = arguments[0]
    if name not in NAMES:
        return _refuse(f"there is no benchmark {name}; there are: {', '.join(present)}")
    if name not in present:
        return _refuse(f"the benchmark {name} does not exist yet; there are: {', '.join(present)}")
    outcome = importlib.import_module(f"benchmarks.{name}").run(scale == "small")
    print(f"{name}, against {outcome.peer}\n\n{outcome.table()}\n")
    print(outcome.to_json(name), flush=True)
    return 0


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
