"""The drift verdict on a long day of many columns against profiles of earlier days, beside Evidently's preset where that ends."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.simulations.wide_log import JUDGE, PROFILE, WideLog

from benchmarks.outcome import Outcome
from benchmarks.whole_process import Measure, measure

_PEER = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
from evermodel.data.prediction_log import files_of
from evermodel.spec import load_spec
from evermodel.spec.window import Window, parse_moment
spec, sides = load_spec(sys.argv[1]), []
first, start, end = map(parse_moment, sys.argv[3:6])
kinds = DataDefinition(
    numerical_columns=list(spec.features.numeric), categorical_columns=list(spec.features.categorical)
)
for window in (Window(start, end), Window(first, start)):
    files = [str(file) for file in files_of(spec, Path(sys.argv[2]), window)]
    frame = pq.ParquetDataset(files, partitioning=None).read(columns=list(spec.features.names)).to_pandas()
    sides.append(Dataset.from_pandas(frame, data_definition=kinds))
print(int(Report([DataDriftPreset()]).run(*sides).dict()["metrics"][0]["value"]["count"]), "columns")
"""


def run(small: bool) -> Outcome:
    """Measure a size that Evidently ends, then a million rows of a thousand columns."""
    (some, few), (most, many) = ((2_000, 20), (5_000, 60)) if small else ((100_000, 200), (1_000_000, 1_000))
    with tempfile.TemporaryDirectory(prefix="evermodel-bench-") as folder:
        narrow = _measured(WideLog(Path(folder) / "narrow", some, few), peer=True)
        wide = _measured(WideLog(Path(folder) / "wide", most, many))
    ours, theirs, large = narrow["verdict"], narrow["Evidently"], wide["verdict"]
    return Outcome(
        peer="Evidently's DataDriftPreset, by default, on the full frames",
        ratios={
            "wide_vs_evidently": theirs.seconds / ours.seconds,
            "wide_memory_vs_evidently": theirs.memory / ours.memory,
        },
        figures={
            "rows_wide": most,
            "columns_wide": many,
            "seconds_wide": large.seconds,
            "peak_memory_mb_wide": large.memory,
            "seconds_profile_wide": wide["profile of the day"].seconds,
            "peak_memory_mb_profile_wide": wide["profile of the day"].memory,
        },
        header=["rows", "columns", "process", "seconds", "processor seconds", "peak memory MB", "drifting"],
        rows=[
            [
                f"{rows:,}",
                f"{columns:,}",
                name,
                *(f"{value:.1f}" for value in (found.seconds, found.processor)),
                f"{found.memory:.0f}",
                found.said,
            ]
            for rows, columns, measures in ((some, few, narrow), (most, many, wide))
            for name, found in measures.items()
        ],
        notes=(
            "",
            "A day against profiles of the ten days before it, each with a twentieth of its rows; Evidently reads these days",
            "themselves. Every tenth column is a category, one of a hundred drifts. Seconds are those of a whole process.",
        ),
    )


def _measured(log: WideLog, *, peer: bool = False) -> dict[str, Measure]:
    log.write()
    first, start, end = log.moments
    place = [log.spec_file, log.lake]
    found = {"profiles of ten days": measure(PROFILE, [*place, first, start], log.folder)}
    found["verdict"] = measure(JUDGE, [*place, first, start, end], log.folder)
    found["profile of the day"] = measure(PROFILE, [*place, start, end], log.folder)
    if peer:
        found["Evidently"] = measure(_PEER, [*place, first, start, end], log.folder)
    return found
