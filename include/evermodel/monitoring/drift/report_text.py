"""The texts of Evidently's report: the origin of its numbers, and a line per test."""

from __future__ import annotations

from collections.abc import Sequence

from evermodel.monitoring.drift.figures import effect_figure, number, tests_figure
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict
from evermodel.spec import ModelSpec

HEADER = ("column", "tested", "verdict", "effect (95 %)", "from", "p-value", "reference", "what changed")


def title(verdict: DriftVerdict) -> str:
    """Return the heading."""
    return f"{verdict.model}, {verdict.start[:10]} to {verdict.end[:10]}: {_named(verdict.severity)}"


def note(spec: ModelSpec, verdict: DriftVerdict, size: int, notes: Sequence[str], drawn: int = 0) -> str:
    """Return what a reader has to know, as Markdown.

    Parameters
    ----------
    size
        Rows that the wanted precision takes.
    notes
        What is not drawn, and why.
    drawn
        Columns that Evidently draws.
    """
    lines = [
        f"**{_marked(verdict.reason)}**",
        f"**Numbers from all rows.** Statistics, thresholds and verdicts come from all {verdict.window_rows:,} rows of "
        f"the window, compared with {verdict.reference_rows:,} rows: {_marked(verdict.reference)} (version "
        f"{verdict.version}). Over all tests of a day together, the chance of a false alarm is at most "
        f"{_share(verdict.false_alarm_rate)}; a test must also reach the effect in the column *from*.",
        _sampling(spec, size, verdict.window_rows, verdict.reference_rows),
    ]
    if drawn:
        lines.append(
            f"**Evidently counts columns.** It draws {drawn} columns: each feature and the predictions, as far as they can be "
            f"drawn. The verdict rests on {tests_figure(verdict)}: of a column its missing values and new categories are tested, "
            "too, and pairs of columns."
        )
    listed = [_marked(line) for line in (*_others(verdict), *notes)]
    return "\n\n".join(lines) + "".join(f"\n{'' if i else chr(10)}- {line}" for i, line in enumerate(listed))


def words(drift: ColumnDrift) -> list[str]:
    """Return a test as a line of the table."""
    effect = effect_figure(drift)
    if (drift.low, drift.high) != (drift.effect, drift.effect):
        effect += f" ({number(drift.low)} to {number(drift.high)})"
    method = "" if drift.method == "calibrated" else f" by {drift.method}"
    return [
        drift.column,
        f"{drift.what}{method}",
        _named(drift.severity),
        effect,
        _limit(drift),
        f"{drift.p_value:.2g}",
        drift.reference,
        drift.summary,
    ]


def _limit(drift: ColumnDrift) -> str:
    """Return the effect from which a test counts; a p-value that is the score of a method counts below its limit."""
    is_p_value = drift.method != "calibrated" and drift.effect == drift.p_value
    return f"{'below ' if is_p_value else ''}{number(drift.threshold)}"


def _sampling(spec: ModelSpec, size: int, window_rows: int, reference_rows: int) -> str:
    if max(window_rows, reference_rows) <= size:
        return "**Plots from all rows.**"
    drawn = [
        f"{min(size, rows):,} of {rows:,} rows of the {side}"
        for side, rows in (("window", window_rows), ("reference", reference_rows))
    ]
    return (
        f"**Plots from a sample.** They show {' and '.join(drawn)}, drawn at random with seed {spec.seed}: "
        f"a share in them is within ±{_share(spec.drift.report_error)} (95 %)."
    )


def _others(verdict: DriftVerdict) -> list[str]:
    """Return what else is wrong than the distribution of a column."""
    found = [p for p in verdict.problems if p.kind != "drift" and p.severity != "none"]
    lines = [f"{problem.kind}, {_named(problem.severity)}: {problem.reason}" for problem in found]
    return lines if verdict.promotion is None else [*lines, f"promotion: {verdict.promotion}"]


def _named(severity: str) -> str:
    return "no drift" if severity == "none" else severity


def _share(value: float) -> str:
    return f"{100 * value:g} %"


def _marked(text: str) -> str:
    """Keep Markdown's signs as they are."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>#|" else sign for sign in text)
