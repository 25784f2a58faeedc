"""What an adopted model's past looks like: decisions on its versions, windows with a problem, and both as a page."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from evermodel.core.html import render
from evermodel.core.settings import Settings
from evermodel.modeling.foreign.model import ForeignDescription
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.pipelines.adopt.decisions import VersionDecision
from evermodel.pipelines.adopt.versions import ForeignVersions
from evermodel.pipelines.watch import backfill
from evermodel.reports.retrain.document import Bullets, PageSection, PageTable, Paragraph
from evermodel.spec import ModelSpec
from evermodel.spec.window import parse_moment, whole_day

_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
HEAD = ("result", "version", "created", "shipped", "gate", "against", "rows", "metric", "gain", "why")


@dataclass(frozen=True)
class Stretch:
    """Windows in a row with the same kinds of problems.

    Parameters
    ----------
    start, end
        Ends of the first and the last window, ISO dates.
    reason
        Of the worst window.
    """

    kinds: str
    start: str
    end: str
    windows: int
    severity: str
    reason: str


@dataclass(frozen=True)
class Adoption:
    """The result of an adoption.

    Parameters
    ----------
    windows
        How many windows were evaluated.
    """

    spec: ModelSpec
    place: str
    description: ForeignDescription
    versions: ForeignVersions
    decisions: Sequence[VersionDecision]
    windows: int
    stretches: Sequence[Stretch]

    def findings(self) -> list[str]:
        """Return the findings as sentences, the most important first."""
        said = [_decision_text(one) for one in self.decisions if one.finding]
        judged = [one for one in self.decisions if one.against and one.decision is not None]
        if judged and not said:
            said.append(
                f"No version shipped that was worse than the one before it, of {len(judged)} that could be compared."
            )
        if len(self.decisions) > 1 and not judged:
            said.append(f"No two versions could be compared: {self.decisions[-1].reason}.")
        said += [
            f"{one.kinds} from {one.start} to {one.end} ({one.windows} of {self.windows} windows): {one.reason}"
            for one in self.stretches
        ]
        if not self.stretches and self.windows:
            said.append(f"No problem in any of {self.windows} windows.")
        return said

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table of versions."""
        return [_row(one) for one in self.decisions]

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {
            "model": self.spec.name,
            "place": self.place,
            "kind": self.description.kind,
            "findings": self.findings(),
            "versions": [
                {
                    "version": one.version.version,
                    "created": one.version.created,
                    "shipped": one.version.shipped,
                    "against": one.against,
                    "finding": one.finding,
                    "reason": one.reason,
                    "decision": None if one.decision is None else one.decision.to_json(),
                }
                for one in self.decisions
            ],
            "windows": self.windows,
            "problems": [one.__dict__ for one in self.stretches],
        }


def past_problems(spec: ModelSpec, first: str, last: str) -> tuple[int, list[Stretch]]:
    """Evaluate a watched model's past, in a lake and a database of its own that are removed: window after window, or day after day.

    Parameters
    ----------
    first, last
        Days (ISO) of the first and the last row.

    Returns
    -------
    How many windows were evaluated, and those with a problem.
    """
    assert spec.watch is not None
    # Windows beside each other: the same days are not evaluated seven times.
    every = min(max(_DAY, spec.drift.window // _WEEK * _WEEK), _WEEK)
    reference, start = spec.watch.reference, parse_moment(first)
    spec = spec.model_copy(update={"watch": spec.watch.model_copy(update={"every": every})})
    if reference.source is None:
        start = max(start, parse_moment(reference.end) + spec.drift.window)
    with tempfile.TemporaryDirectory(prefix="evermodel-adopt-") as folder:
        apart = Settings.from_environment().model_copy(
            update={"home": Path(folder), "lake": Path(folder, "lake"), "database": None, "evidently": None}
        )
        found = [one for one in backfill(spec, apart, start, whole_day(last) + _DAY) if one is not None]
    return len(found), _stretches(found)


def _stretches(found: Sequence[DriftVerdict]) -> list[Stretch]:
    stretches = []
    for kinds, group in groupby(found, key=_kinds):
        windows = list(group)
        worst = max(windows, key=lambda one: one.severity == "critical")
        if kinds:
            ends = windows[0].end[:10], windows[-1].end[:10]
            stretches.append(Stretch(kinds, *ends, len(windows), worst.severity, worst.reason))
    return stretches


def _kinds(verdict: DriftVerdict) -> str:
    return " and ".join(one.kind for one in verdict.problems if one.known and one.severity != "none")


def page(adoption: Adoption) -> str:
    """Render an adoption as a self-contained page without scripts."""
    findings = adoption.findings()
    wrong = any(one.finding for one in adoption.decisions)
    problems = [
        (one.kinds, one.start, one.end, one.windows, one.severity, one.reason) for one in adoption.stretches
    ]
    return render(
        "reports/templates/drift.html",
        kicker="What the gate and the drift checks would have decided",
        title=f"{adoption.spec.name}: adopted from {adoption.place}",
        footer=f"evermodel · {adoption.description.kind} · {len(adoption.spec.features.names)} inputs",
        tone="stays" if wrong else "forced" if adoption.stretches else "ships",
        severity=findings[0] if findings else "nothing to compare",
        sentences=findings[1:],
        sections=[
            PageSection("Versions", [PageTable(HEAD, adoption.rows()), Bullets(notes(adoption))]),
            PageSection(
                "Windows with a problem",
                [
                    *(
                        [PageTable(("kind", "from", "to", "windows", "severity", "why"), problems)]
                        if problems
                        else []
                    ),
                    Paragraph(f"{adoption.windows} windows of the past were evaluated, one after the other."),
                ],
            ),
        ],
    )


def notes(adoption: Adoption) -> list[str]:
    """Return what a reader must know about the comparison."""
    said = [
        "Each version is compared with the one that served when it was registered, on the rows from then until the next "
        "one was registered: neither can have been trained on them.",
        "Shipped: it, or an older version than the one that serves now. A registry keeps no history of aliases.",
    ]
    if len(adoption.decisions) == 1:
        return ["There is one version, so that nothing can be compared; its absolute gates are evaluated."]
    return said


def _row(one: VersionDecision) -> tuple[str, ...]:
    created = "" if one.version.created is None else f"{one.version.created:%Y-%m-%d}"
    known = (one.version.version, created, "yes" if one.version.shipped else "no")
    found = one.decision
    if found is None:
        return ("warn", *known, "no decision", one.against, "", "", "", one.reason)
    mark = "fail" if one.finding else "pass"
    gain = "" if found.gain is None else _interval(found.gain, "+")
    said = "ship" if found.ship else "hold back"
    return (
        mark,
        *known,
        said,
        one.against,
        f"{found.rows:,}",
        f"{found.metric} {found.challenger[0]:.4f}",
        gain,
        found.reason,
    )


def _decision_text(one: VersionDecision) -> str:
    found = one.decision
    assert found is not None
    assert found.gain is not None
    done = (
        "shipped and was worse than" if one.finding == "worse shipped" else "did not ship and was better than"
    )
    day = "" if one.version.created is None else f" of {one.version.created:%Y-%m-%d}"
    return (
        f"Version {one.version.version}{day} {done} version {one.against}: {found.metric} {_interval(found.gain, '+')} "
        f"on the {found.rows:,} rows after it."
    )


def _interval(found: tuple[float, float, float], sign: str = "") -> str:
    value, low, high = found
    return f"{value:{sign}.4f} ({low:{sign}.4f} to {high:{sign}.4f})"
