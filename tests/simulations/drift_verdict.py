"""A drift verdict as a program of its own, and its statistics beside Evidently's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.simulations.distances import jensen_shannon, kolmogorov_smirnov, wasserstein
from tests.simulations.drift_tables import CATEGORICAL, NUMERIC

from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.stats.sample import categories
from evermodel.stats.spilled import numbers

# Arguments: Parquet files of reference and window, the spec, a word that is not read, and the report's page.
VERDICT = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.monitoring.drift.verdict import DriftVerdict, Performance
from evermodel.monitoring.problems import worst_of
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
_SAME = {"n": ("ks", "wasserstein"), "c": ("jensenshannon",)}


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


def _ours(method: str, before: Any, now: Any) -> float:
    if method == "jensenshannon":
        return jensen_shannon(categories(before.chunks).counts, categories(now.chunks).counts)
    distance = wasserstein if method == "wasserstein" else kolmogorov_smirnov
    return distance(numbers(before.chunks), numbers(now.chunks))
