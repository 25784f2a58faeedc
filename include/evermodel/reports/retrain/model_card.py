"""The model card of a version: intended use, training data, evaluation, and when to retrain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evermodel.alerts.text import redacted
from evermodel.core.html import render
from evermodel.evaluation.decision import Decision
from evermodel.reports.retrain.document import (
    Bullets,
    Links,
    PageSection,
    PageTable,
    Paragraph,
    to_markdown,
)
from evermodel.reports.retrain.text import gate_table, interval, metric_rows, number, slice_gates_of, why
from evermodel.spec import ModelSpec
from evermodel.spec.parts import format_span
from evermodel.spec.window import split_window


@dataclass(frozen=True)
class Tried:
    """A candidate of the retrain."""

    name: str
    estimator: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Card:
    """The content of a model card.

    Parameters
    ----------
    as_of
        Midnight of the retrain's day.
    evidence
        Metrics of `evermodel.reports.retrain.numbers`; empty if unknown.
    lineage
        Tags of the version, as label and value.
    """

    spec: ModelSpec
    version: str
    as_of: datetime
    decision: Decision
    tried: Sequence[Tried]
    evidence: Mapping[str, Any]
    lineage: Mapping[str, str]
    links: Mapping[str, str]

    @property
    def title(self) -> str:
        """Heading of the card."""
        return f"Model card: {self.spec.name}, version {self.version}"

    def markdown(self) -> str:
        """Return the card as Markdown."""
        return to_markdown(self.title, self._sections())

    def html(self) -> str:
        """Return the card as one self-contained page."""
        return render(
            "reports/templates/model_card.html",
            title=self.title,
            footer=f"evermodel · run {self.decision.run_key}",
            description=self.spec.description,
            sections=self._sections(),
        )

    def _sections(self) -> list[PageSection]:
        return [
            self._model(),
            self._use(),
            self._data(),
            self._candidates(),
            self._metrics(),
            self._gates(),
            *self._slices(),
            self._renewal(),
            PageSection("Lineage", [PageTable(("what", "which"), list(self.lineage.items()))]),
            PageSection("More", [Links(dict(self.links))]),
        ]

    def _model(self) -> PageSection:
        spec = self.spec
        chosen = next(c for c in self.tried if c.name == self.decision.candidate)
        rows = [
            ("model", f"{spec.name}, version {self.version}"),
            ("description", spec.description or "not set in the spec (`description`)"),
            ("owner", spec.owner),
            ("task", f"{spec.task}: predicts {spec.label.column}"),
            ("estimator", f"{chosen.estimator} (candidate {chosen.name})"),
            ("trained as of", f"{self.as_of:%Y-%m-%d}"),
            ("decision", f"{self.decision.verdict.replace('_', ' ')}, {self.decision.reason}"),
        ]
        if self.decision.threshold is not None and spec.decision is not None:
            rule = spec.decision.rule.replace("_", " ")
            rows.append(("decides positive", f"from a score of {self.decision.threshold:.4g} (rule: {rule})"))
        return PageSection("Model", [PageTable(("what", "which"), rows)])

    def _use(self) -> PageSection:
        spec = self.spec
        assumed = [
            f"A label is known {format_span(spec.label.delay)} after {spec.time_column}; until then it is not used.",
            "Features are as in training: the same columns, units and categories, known at "
            f"{spec.time_column}.",
            "The near future resembles the training window; the drift DAG monitors this assumption.",
            "A category that is absent from training carries no information for the model.",
        ]
        return PageSection(
            "Intended use and limits",
            [
                Paragraph(f"Intended use: {spec.intended_use or 'not set in the spec (intended_use)'}"),
                Paragraph(f"Limits: {spec.limits or 'not set in the spec (limits)'}"),
                Paragraph("Assumptions:"),
                Bullets(assumed),
            ],
        )

    def _data(self) -> PageSection:
        spec, parts = self.spec, split_window(self.spec, self.as_of)
        rows = [
            ("source", redacted(spec.source.told)),
            ("train", f"{parts.train}"),
            ("validation", f"{parts.validation}"),
            ("test (never fitted on)", f"{parts.test}, {self.decision.rows:,} rows"),
            ("snapshot", self.lineage.get("snapshot", "unknown")),
            ("snapshot md5 (DVC)", self.lineage.get("snapshot md5 (DVC)", "unknown")),
            ("numeric features", ", ".join(spec.features.numeric) or "none"),
            ("categorical features", ", ".join(spec.features.categorical) or "none"),
            *((f"computed: {name}", text) for name, text in spec.features.expressions.items()),
            ("kept beside them, not seen by the model", ", ".join(spec.context) or "none"),
            ("excluded as leaks", ", ".join(spec.leaks) or "none declared"),
        ]
        return PageSection("Data", [PageTable(("what", "which"), rows)])

    def _candidates(self) -> PageSection:
        name = f"validation_{self.decision.metric}"
        rows = [
            (
                f"{c.name} (chosen)" if c.name == self.decision.candidate else c.name,
                c.estimator,
                ", ".join(f"{key}={value}" for key, value in sorted(c.params.items())) or "defaults",
                number(c.metrics.get(name)),
            )
            for c in self.tried
        ]
        return PageSection("Candidates", [PageTable(("candidate", "estimator", "parameters", name), rows)])

    def _metrics(self) -> PageSection:
        decision = self.decision
        found: Mapping[str, Any] = self.evidence.get("metrics", {})
        own = found.get("challenger", {decision.metric: decision.challenger})
        theirs = found.get("champion", {decision.metric: decision.champion} if decision.champion else {})
        own = dict(sorted(own.items(), key=lambda item: item[0] != decision.metric))
        rows = metric_rows(decision.metric, own, theirs, self.evidence.get("calibration_error", {}))
        if decision.gain is not None:
            rows.append((f"gain in {decision.metric}", interval(decision.gain, "+"), "-"))
        confidence = f"with {self.spec.gate.confidence:.0%} bootstrap intervals"
        before = (
            f"champion at the time (version {decision.parent})"
            if decision.parent
            else "champion at the time (none)"
        )
        return PageSection(
            "Metrics",
            [
                Paragraph(f"On the test rows, {confidence}."),
                PageTable(("metric", "this version", before), rows),
            ],
        )

    def _gates(self) -> PageSection:
        slices = slice_gates_of(self.decision)
        others = tuple(gate for gate in self.decision.gates if gate not in slices)
        return PageSection("Gates", [Paragraph(" ".join(why(self.decision))), gate_table(others)])

    def _slices(self) -> list[PageSection]:
        gates = slice_gates_of(self.decision)
        return [PageSection("Slices", [gate_table(gates)])] if gates else []

    def _renewal(self) -> PageSection:
        spec, drift = self.spec, self.spec.drift
        weekly = (
            f"on schedule, cron {spec.schedule.retrain} (UTC)" if spec.schedule.retrain else "not scheduled"
        )
        on_drift = (
            "drift does not trigger a retrain"
            if spec.retrain.when == "never"
            else f"when drift is {spec.retrain.when} (window {format_span(drift.window)}; significant, from a PSI of "
            f"{drift.psi.warning:g} a warning and of {drift.psi.critical:g} critical, where that is more than the model's quiet "
            f"windows show as normal, which each verdict states), at most once in {format_span(spec.retrain.cooldown)}"
        )
        by_hand = "by hand, after features, labels or the use change: update the spec first"
        return PageSection("When to retrain", [Bullets([weekly, on_drift, by_hand])])
