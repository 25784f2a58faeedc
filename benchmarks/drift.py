"""The drift verdict on all rows, alone and with Evidently's report, beside Evidently's preset; as whole processes."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tests.simulations.drift_tables import CATEGORICAL, NUMERIC, write_rows, write_spec
from tests.simulations.drift_verdict import VERDICT, largest_difference

from benchmarks.outcome import Outcome
from benchmarks.whole_process import Measure, measure

_PEER = """
import sys
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
reference, window, columns, page = sys.argv[1], sys.argv[2], sys.argv[4].split(","), sys.argv[5]
kinds = DataDefinition(
    numerical_columns=[c for c in columns if c[0] == "n"], categorical_columns=[c for c in columns if c[0] == "c"]
)
sides = [Dataset.from_pandas(pd.read_parquet(f, columns=columns), data_definition=kinds) for f in (window, reference)]
done = Report([DataDriftPreset()]).run(*sides)
done.save_html(page)
print(int(done.dict()["metrics"][0]["value"]["count"]), "drift")
"""
_REPORT = """
from evermodel.monitoring.drift.report import draw_report, save_report
from evermodel.monitoring.drift.drawing import sources_of
save_report(draw_report(spec, verdict, *sources_of(references, window)), Path(sys.argv[5]).parent)
"""
# What the verdict alone must not load: modules, told after it is written.
_MODULES = (
    "\nprint(*[m for m in ('pandas', 'evidently', 'mlflow', 'scipy.stats', 'sklearn') if m in sys.modules])\n"
)


def run(small: bool) -> Outcome:
    """Measure alternately; then ours alone on ten times the rows."""
    rows, times = (20_000, 1) if small else (1_000_000, 3)
    with tempfile.TemporaryDirectory(prefix="evermodel-bench-") as name:
        folder = Path(name)
        write_spec(folder / "bench.yaml")
        _write(folder, rows)
        found: dict[str, list[Measure]] = {"verdict": [], "Evidently": [], "verdict and report": []}
        for repeat in range(times):  # alternately, so that whatever else the machine does hits all of them
            found["verdict"].append(_measure(VERDICT + _MODULES, folder))
            found["verdict and report"].append(_measure(VERDICT + _REPORT, folder))
            if repeat < max(1, times - 1):  # a minute each
                found["Evidently"].append(_measure(_PEER, folder))
        difference = largest_difference(folder / "reference.parquet", folder / "window.parquet")
        _write(folder, 10 * rows)
        found["verdict, ten times the rows"] = [_measure(VERDICT, folder)]
    return _outcome(rows, found, difference)


def _write(folder: Path, rows: int) -> None:
    write_rows(folder / "reference.parquet", rows, seed=1)
    write_rows(folder / "window.parquet", rows, seed=2, shift=0.5)


def _measure(program: str, folder: Path) -> Measure:
    files = [folder / "reference.parquet", folder / "window.parquet", folder / "bench.yaml"]
    return measure(program, [*files, ",".join([*NUMERIC, *CATEGORICAL]), folder / "page.html"], folder)


def _outcome(rows: int, found: dict[str, list[Measure]], difference: float) -> Outcome:
    seconds = {name: statistics.median(m.seconds for m in measures) for name, measures in found.items()}
    memory = {name: max(m.memory for m in measures) for name, measures in found.items()}
    return Outcome(
        peer="Evidently's DataDriftPreset, by default, on the full frames",
        ratios={
            "verdict_vs_evidently": seconds["Evidently"] / seconds["verdict"],
            "step_vs_evidently": seconds["Evidently"] / seconds["verdict and report"],
            "memory_vs_evidently": memory["Evidently"] / memory["verdict"],
        },
        figures={
            "rows": rows,
            "seconds_verdict": seconds["verdict"],
            "seconds_verdict_and_report": seconds["verdict and report"],
            "seconds_evidently": seconds["Evidently"],
            "peak_memory_mb": memory["verdict"],
            "peak_memory_mb_evidently": memory["Evidently"],
            "rows_large": 10 * rows,
            "seconds_large": seconds["verdict, ten times the rows"],
            "peak_memory_mb_large": memory["verdict, ten times the rows"],
            "largest_difference_to_evidently": difference,
        },
        header=["process", "seconds (median)", "fastest", "peak memory MB", "said"],
        rows=[
            [
                name,
                f"{seconds[name]:.2f}",
                f"{min(m.seconds for m in measures):.2f}",
                f"{memory[name]:.0f}",
                " ".join(measures[-1].said.split()),
            ]
            for name, measures in found.items()
        ],
        notes=(
            "",
            f"{rows:,} against {rows:,} rows, {len(NUMERIC)} numbers and {len(CATEGORICAL)} categories, Parquet. Seconds are",
            "those of a whole process, from its start. Statistics of the same method (Kolmogorov-Smirnov, Wasserstein over the",
            f"standard deviation, Jensen-Shannon) differ from Evidently's own by at most {difference:.1g}.",
        ),
    )
