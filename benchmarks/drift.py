"""The drift verdict on all rows, alone and with Evidently's report, beside Evidently's preset; as whole processes."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from benchmarks.drift_data import CATEGORICAL, NUMERIC, write_rows, write_spec
from benchmarks.outcome import Outcome
from benchmarks.whole_process import Measure, measure
from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.stats.distances import jensen_shannon, kolmogorov_smirnov, wasserstein
from evermodel.stats.sample import categories, numbers

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
_VERDICT = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.monitoring.drift.verdict import DriftVerdict, Performance
from evermodel.core.severity import worst_of
from evermodel.spec import load_spec
from evermodel.spec.window import Window
reference, window, spec = ParquetRows([Path(sys.argv[1])]), ParquetRows([Path(sys.argv[2])]), load_spec(sys.argv[3])
fitted, judged = (Window(datetime(1970, m, 1, tzinfo=UTC), datetime(1970, m + 1, 1, tzinfo=UTC)) for m in (1, 2))
references = References(spec, judged, "1", reference, fitted, Profiles(spec, Path("lake")))
columns = judge_window(spec, references, window)
main = references.main()
verdict = DriftVerdict(
    spec.name, "1", judged.start.isoformat(), judged.end.isoformat(), main.words, main.rows, window.num_rows,
    spec.drift.false_alarm_rate, worst_of(c.severity for c in columns), "drift", (), Performance("roc_auc", 0), columns,
)
Path(sys.argv[5]).with_suffix(".json").write_text(json.dumps(verdict.to_json()))
print(len({c.column for c in columns if c.what == "feature" and c.severity != "none"}), "drift")
"""
_REPORT = """
from evermodel.monitoring.drift.report import draw_report, save_report
from evermodel.monitoring.drift.report_sources import sources_of
save_report(draw_report(spec, verdict, *sources_of(references, window)), Path(sys.argv[5]).parent)
"""
# What the verdict alone must not load: modules, told after it is written.
_MODULES = (
    "\nprint(*[m for m in ('pandas', 'evidently', 'mlflow', 'scipy.stats', 'sklearn') if m in sys.modules])\n"
)
_SAME = {"n": ("ks", "wasserstein"), "c": ("jensenshannon",)}


def run(small: bool) -> Outcome:
    """Measure alternately; then ours alone on ten times the rows."""
    rows, times = (20_000, 1) if small else (1_000_000, 3)
    with tempfile.TemporaryDirectory(prefix="evermodel-bench-") as name:
        folder = Path(name)
        write_spec(folder / "bench.yaml")
        _write(folder, rows)
        found: dict[str, list[Measure]] = {"verdict": [], "Evidently": [], "verdict and report": []}
        for repeat in range(times):  # alternately, so that whatever else the machine does hits all of them
            found["verdict"].append(_measure(_VERDICT + _MODULES, folder))
            found["verdict and report"].append(_measure(_VERDICT + _REPORT, folder))
            if repeat < max(1, times - 1):  # a minute each
                found["Evidently"].append(_measure(_PEER, folder))
        difference = largest_difference(folder / "reference.parquet", folder / "window.parquet")
        _write(folder, 10 * rows)
        found["verdict, ten times the rows"] = [_measure(_VERDICT, folder)]
    return _outcome(rows, found, difference)


def largest_difference(reference: Path, window: Path) -> float:
    """Return by how much our statistics differ from Evidently's own, where the method is the same."""
    from evidently.legacy.calculations.stattests import get_stattest
    from evidently.legacy.core import ColumnType

    worst = 0.0
    before, now = ParquetRows([reference]), ParquetRows([window])
    for name in (*NUMERIC, *CATEGORICAL):
        sides = [rows[name].to_pandas().dropna() for rows in (before, now)]
        kind = ColumnType.Numerical if name in NUMERIC else ColumnType.Categorical
        for method in _SAME[name[0]]:
            test = get_stattest(*sides, kind, method)
            theirs = test(*sides, kind, None).drift_score if method != "ks" else _scipy_ks(*sides)
            worst = max(worst, abs(_ours(method, before[name], now[name]) - theirs))
    return worst


def _scipy_ks(before: object, now: object) -> float:
    """Return the statistic behind Evidently's K-S test, which itself tells its p-value only."""
    from scipy.stats import ks_2samp

    return float(ks_2samp(before, now).statistic)


def _ours(method: str, before: object, now: object) -> float:
    if method == "jensenshannon":
        return jensen_shannon(categories(before).counts, categories(now).counts)  # type: ignore[arg-type]
    distance = wasserstein if method == "wasserstein" else kolmogorov_smirnov
    return distance(numbers(before), numbers(now))  # type: ignore[arg-type]


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
