"""Evidently's own report of a window, showing our statistic, threshold and verdict beside its plots."""

from __future__ import annotations

from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.drift.verdict import ColumnDrift
from evermodel.frames import feature_frame
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

STAT_TEST = "evermodel_psi"


def write_report(
    spec: ModelSpec,
    columns: tuple[ColumnDrift, ...],
    reference: pa.Table,
    window: pa.Table,
    folder: Path,
    most_rows: int,
) -> tuple[Path, Path]:
    """Draw Evidently's drift report.

    The plots come from a seeded sample of at most ``most_rows`` rows a side; the statistics that it shows are those
    of the verdict, which come from all rows.

    Parameters
    ----------
    columns
        The judged columns.
    folder
        Where ``evidently.html`` and ``evidently.json`` go.

    Returns
    -------
    Paths of the HTML and the JSON file.
    """
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    before, now = _sample(spec, reference, most_rows), _sample(spec, window, most_rows)
    shown = [c for c in columns if before[c.column].notna().any() and now[c.column].notna().any()]
    definition = DataDefinition(
        numerical_columns=[c.column for c in shown if c.kind == "numeric"],
        categorical_columns=[c.column for c in shown if c.kind == "categorical"],
    )
    test = _stat_test({c.column: c for c in shown})
    preset = DataDriftPreset(
        columns=[c.column for c in shown],
        per_column_method={c.column: test for c in shown},
        per_column_threshold={c.column: round(c.threshold, 4) for c in shown},
        drift_share=floor(1e4 / len(shown)) / 1e4,  # one drifting column is drift
    )
    snapshot = Report([preset], include_tests=True).run(
        Dataset.from_pandas(now, data_definition=definition),
        Dataset.from_pandas(before, data_definition=definition),
    )
    html, data = folder / "evidently.html", folder / "evidently.json"
    snapshot.save_html(str(html))
    data.write_text(snapshot.json(), encoding="utf-8")
    return html, data


def _stat_test(columns: dict[str, ColumnDrift]) -> Any:
    """Make the stat test that answers with the verdict on the whole column, not on Evidently's sample."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    def answer(reference: Any, current: pd.Series[Any], kind: Any, threshold: float) -> tuple[float, bool]:
        column = columns[str(current.name)]
        return column.effect, column.severity != "none"

    test = StatTest(
        name=STAT_TEST,
        display_name="PSI, calibrated (evermodel)",
        allowed_feature_types=[ColumnType.Numerical, ColumnType.Categorical],
    )
    register_stattest(test, answer)
    return test


def _sample(spec: ModelSpec, table: pa.Table, most_rows: int) -> pd.DataFrame:
    import numpy as np

    if table.num_rows > most_rows:
        chosen = np.random.default_rng(spec.seed).choice(table.num_rows, most_rows, replace=False)
        table = table.take(np.sort(chosen))
    return feature_frame(spec, table)
