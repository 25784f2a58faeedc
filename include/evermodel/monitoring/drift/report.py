"""Evidently's own report of a window, with our statistics, thresholds and verdicts beside its plots."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.core.errors import PermanentError
from evermodel.core.html import render
from evermodel.monitoring.drift.drawing import Chosen, Source, draw, rows_needed
from evermodel.monitoring.drift.report_text import HEADER, note, title, words
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict
from evermodel.spec import ModelSpec
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    import pandas as pd

# Tests of whole columns, which Evidently can draw; the others are listed.
_DRAWN = ("feature", "prediction", "label")
_PREFIX = "evermodel_"
_Sides = dict[str, NDArray[Any]]
STAT_TEST = f"{_PREFIX}calibrated"
# Evidently puts its data into a script as JSON, a line for widgets and one for plots.
_DATA = re.compile(r"^ *var \w+ = .*;$", re.MULTILINE)
_DATA_LINES = 2
_SCRIPT = re.compile("<script>(.*?)</script>", re.DOTALL)
_MARKUP = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def draw_report(
    spec: ModelSpec,
    verdict: DriftVerdict,
    reference: Source | Chosen,
    window: Source | Chosen,
) -> Any:
    """Render Evidently's drift report of a verdict.

    The plots come from a seeded sample, as large as the spec's `drift.report_error` takes; the statistics, thresholds
    and verdicts that it shows are those of the verdict, which come from all rows, and the report says so. A column
    that cannot be drawn is named with the reason; the report is drawn also when none can.

    Parameters
    ----------
    reference
        Reference of the columns: one source, or a function that gives each test's source and its column's
        name there, or None.
    window
        The evaluated window, in the same form.

    Returns
    -------
    Evidently's ``Snapshot``.
    """
    from evidently import DataDefinition, Dataset, Report

    from evermodel.monitoring.drift.report_note import VerdictNote, say_rows

    size = rows_needed(spec.drift.report_error)
    columns, old, new, notes = _pictures(spec, verdict, reference, window, size)
    before, now = _frame(old), _frame(new)
    definition = DataDefinition(
        numerical_columns=[n for n, c in columns.items() if c.kind == "numeric"],
        categorical_columns=[n for n, c in columns.items() if c.kind == "categorical"],
    )
    text = note(spec, verdict, size, notes, len(columns))
    parts: list[Any] = [
        VerdictNote(
            title=title(verdict), text=text, header=list(HEADER), rows=[words(c) for c in verdict.columns]
        )
    ]
    if columns:
        parts.append(_preset(columns))
    snapshot = Report(parts, include_tests=True).run(
        Dataset.from_pandas(now, data_definition=definition),
        Dataset.from_pandas(before, data_definition=definition),
        timestamp=parse_moment(verdict.end).replace(tzinfo=None),
        name=f"{verdict.model} {verdict.end[:10]}",
        tags=["calm" if verdict.severity == "none" else verdict.severity],
        metadata=_metadata(spec, verdict, size),
    )
    say_rows(snapshot, verdict.window_rows)
    return snapshot


def save_report(snapshot: Any, folder: Path) -> tuple[Path, Path]:
    """Write a report as ``evidently.html`` and ``evidently.json``, and return both paths."""
    html, data = folder / "evidently.html", folder / "evidently.json"
    html.write_text(_inert(snapshot.get_html_str(as_iframe=False)), encoding="utf-8")
    data.write_text(snapshot.json(), encoding="utf-8")
    return html, data


def _inert(page: str) -> str:
    """Return Evidently's page with its data free of markup, which could end the script, and with a content policy.

    The policy allows Evidently's own scripts by their hashes, and nothing from elsewhere.
    """
    # A browser computes the hashes on its own line ends.
    page, lines = _DATA.subn(
        lambda line: line[0].translate(_MARKUP), page.replace("\r\n", "\n"), count=_DATA_LINES
    )
    if lines != _DATA_LINES:
        raise PermanentError(
            "Evidently's page has another form than that of version 0.7, so its data cannot be made safe to open",
            "install the version of evidently in requirements.txt",
        )
    hashes = [b64encode(sha256(script.encode()).digest()).decode() for script in _SCRIPT.findall(page)]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    policy = (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; font-src data:; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    return page.replace("<head>", render("monitoring/drift/templates/head.html", policy=policy), 1)


def _pictures(
    spec: ModelSpec, verdict: DriftVerdict, reference: Source | Chosen, window: Source | Chosen, size: int
) -> tuple[dict[str, ColumnDrift], _Sides, _Sides, list[str]]:
    """Return the columns that Evidently draws, both sides of them, and which could not be drawn."""
    columns: dict[str, ColumnDrift] = {}
    before: _Sides = {}
    now: _Sides = {}
    notes: list[str] = []
    for drift in verdict.columns:
        name = drift.column
        if drift.what not in _DRAWN or name in columns:
            continue
        sides, problem = _sides(drift, _chosen(reference, drift), _chosen(window, drift), size, spec.seed)
        if problem:
            notes.append(f"{name}: {problem}")
        if sides is not None:
            columns[name], (before[name], now[name]) = drift, sides
    return columns, before, now, notes


def _chosen(source: Source | Chosen, drift: ColumnDrift) -> tuple[Source, str] | None:
    return source(drift) if callable(source) else (source, drift.column)


def _sides(
    drift: ColumnDrift,
    reference: tuple[Source, str] | None,
    window: tuple[Source, str] | None,
    size: int,
    seed: int,
) -> tuple[tuple[NDArray[Any], NDArray[Any]] | None, str]:
    """Plot both sides of a column; otherwise return the reason, or what was omitted."""
    drawn, said = [], ""
    for side, source in (("reference", reference), ("window", window)):
        try:
            values = None if source is None else draw(*source, drift.kind, size, seed)
        except KeyError:
            values = None
        if values is None:
            return None, f"not plotted: the {side} has no such column, or too few rows"
        if drift.kind == "numeric":
            infinite = np.isinf(values)
            if infinite.any():
                said = "infinite values are omitted from the plots"
                values = np.where(infinite, np.nan, values)
            known = (~np.isnan(values)).any()
        else:
            known = any(value is not None for value in values)
        if not known:
            return None, f"not plotted: the {side} has no value to plot"
        drawn.append(values)
    return (drawn[0], drawn[1]), said


def _frame(columns: dict[str, NDArray[Any]]) -> pd.DataFrame:
    """Put columns side by side; they are compared one by one, so a shorter one may end with missing values."""
    import pandas as pd

    return pd.DataFrame({name: pd.Series(values) for name, values in columns.items()})


def _preset(columns: dict[str, ColumnDrift]) -> Any:
    from evidently.presets import DataDriftPreset

    tests = _stat_tests(columns)
    return DataDriftPreset(
        columns=list(columns),
        per_column_method={name: tests[drift.method] for name, drift in columns.items()},
        per_column_threshold={name: round(drift.threshold, 4) for name, drift in columns.items()},
        drift_share=floor(1e4 / len(columns)) / 1e4,  # one drifting column is drift
    )


def _stat_tests(columns: dict[str, ColumnDrift]) -> dict[str, Any]:
    """Make stat tests that answer with the verdict on all rows, not on Evidently's sample; one for each method."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    def answer(reference: Any, current: pd.Series[Any], kind: Any, threshold: float) -> tuple[float, bool]:
        drift = columns[str(current.name)]
        return drift.effect, drift.severity != "none"

    tests = {}
    for drift in columns.values():
        test = StatTest(
            name=_PREFIX + drift.method,
            display_name=_display(drift),
            allowed_feature_types=[ColumnType.Numerical, ColumnType.Categorical],
        )
        register_stattest(test, answer)
        tests[drift.method] = test
    return tests


def _display(drift: ColumnDrift) -> str:
    """Name a method as Evidently does."""
    from evidently.legacy.calculations.stattests.registry import _registered_stat_tests

    if drift.method == "calibrated":
        return f"{drift.measure}, calibrated (evermodel)"
    known = _registered_stat_tests.get(drift.method, {})
    return next((test.display_name for test in known.values()), drift.method)


def _metadata(spec: ModelSpec, verdict: DriftVerdict, size: int) -> dict[str, str]:
    return {
        "model_id": verdict.model,
        "version": verdict.version,
        "window": f"{verdict.start[:16]} to {verdict.end[:16]}",
        "window_rows": str(verdict.window_rows),
        "reference_id": verdict.reference,
        "reference_rows": str(verdict.reference_rows),
        "severity": verdict.severity,
        "reason": verdict.reason,
        "sample_rows": str(size),
        "sample_error": str(spec.drift.report_error),
        "sample_seed": str(spec.seed),
    }
