"""The pages that the project writes, with one text in the place of every name, category and reason."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from evermodel.alerts.failure_message import failure_message
from evermodel.alerts.incident_message import IncidentView, incident_message
from evermodel.alerts.outbox import preview_html, thread_html
from evermodel.alerts.outbox_index import OutboxEntry
from evermodel.cli.demo_replay.story import Row
from evermodel.core.html import render
from evermodel.data.validation.profile import ColumnProfile, SnapshotProfile
from evermodel.data.validation.report import CheckResult, ValidationReport
from evermodel.evaluation.decision import Gate
from evermodel.modeling.foreign.model import ForeignDescription
from evermodel.monitoring.drift.verdict import Bin
from evermodel.monitoring.problems import Problem
from evermodel.pipelines.adopt.decisions import VersionDecision
from evermodel.pipelines.adopt.report import Adoption, Stretch
from evermodel.pipelines.adopt.report import page as adoption_page
from evermodel.pipelines.adopt.versions import ForeignVersion, ForeignVersions
from evermodel.reports.drift_page import drift_page
from evermodel.reports.retrain.decision_page import decision_page
from evermodel.reports.retrain.document import PageTable
from evermodel.reports.retrain.model_card import Card, Tried
from evermodel.reports.retrain.numbers import Importance, numbers_of
from evermodel.reports.validation_page import validation_page
from support.scored_samples import GATES, trial
from support.small_spec import small_spec
from support.verdicts import a_column, a_verdict


def a_decision_page(text: str) -> str:
    gates = (
        replace(GATES[0], name=text, detail=text, threshold=text),
        Gate(f"slice {text}", "pass", 0.1, text, text),
    )
    found = trial(candidate=f"_{text}", reason=text, run_key=text, gates=gates, forced=True)
    figures = numbers_of(found, Importance(0, 0, {}))
    return decision_page(found, figures, {"reason": text, text: text}, {text: text, "run": f"http://x.example/{text}"})  # fmt: skip


def a_card(text: str) -> str:
    found = trial(reason=text, run_key=text, gates=(replace(GATES[1], name=text, detail=text),))
    spec = small_spec(owner=text, description=text, intended_use=f"_{text}", limits=f"_{text}")
    tried = [Tried("linear", text, {text: text}, {})]
    links = {text: text, "run": f"https://x.example/{text}"}
    lineage = {"git commit": text, text: text}
    return Card(
        spec, text, datetime(2026, 1, 5, tzinfo=UTC), found.decision, tried, {}, lineage, links
    ).html()


def a_validation_page(text: str) -> str:
    checks = tuple(
        CheckResult(text, False, text, text, severity, text, f"_{text}", 1, (f"_{text}",))
        for severity in ("fail", "warn", "quarantine")
    )
    report = ValidationReport("small", 9, checks, 1, f"_{text}", f"_{text}")
    profile = SnapshotProfile(9, 9, "", "", {text: ColumnProfile(text, False, values={text: 3}, distinct=1)})
    return validation_page(small_spec(), report, profile, None, text)


def a_drift_page(text: str) -> str:
    bins = (Bin(text, 0.5, 0.5),)
    column = a_column(column=text, summary=f"_{text}", measure=text, bins=bins, severity="critical")
    problems = (Problem("quality", "critical", f"_{text}"),)
    return drift_page(a_verdict(model=text, version=text, reason=text, columns=(column,), problems=problems))


def a_backtest_page(text: str) -> str:
    table = PageTable((text, text), [(text, f"_{text}")])
    plot = SimpleNamespace(title=text, caption=text, source="data:image/svg+xml;base64,", wide=True)
    return render(
        "reports/templates/backtest.html", title=text, footer=text, facts={"start": text, "end": text, "model": text}, tone="ships",
        findings=[text, text], cards=[(text, text, text)], results=table, notes=[text], plots=[plot], hurting=table, cost=table,
        retrains={text: table}, replayed=table,
    )  # fmt: skip


def a_description(text: str) -> str:
    kind = {"type": [text, "null"], "description": text}
    schema = {
        "oneOf": [
            {"properties": {"rows": {}}},
            {"properties": {"row": {"properties": {text: kind}, "required": []}}},
        ]
    }
    content = {"application/json": {"schema": schema, "examples": {text: {"value": {text: text}}}}}
    operation = {
        "description": text,
        "requestBody": {"content": content},
        "responses": {"200": {"description": text}},
    }
    read = {"summary": text, "responses": {"200": {"description": text}}}
    api = {
        "info": {"version": text},
        "components": {},
        "paths": {f"/{text}": {"get": read, "post": operation}},
    }
    return render("serving/templates/docs.html", api=api, dumps=json.dumps)


def a_preview(text: str) -> str:
    column = a_column(column=text, summary=f"_{text}", measure=text)
    verdict = a_verdict(model=text, version=text, columns=(column,))
    view = IncidentView(
        name=text, problem=Problem("drift", "critical", f"_{text}", details=(f"_{text}",)), verdict=verdict, opened="2026-01-05",
        worst="critical", links={"run": f"http://x.example/{text}"}, next_step=f"_{text}", cause=f"_{text}", owner=f"_{text}", mention=(),
    )  # fmt: skip
    return preview_html(incident_message(view), b"png", f"_{text}")


def a_thread(text: str) -> str:
    first = failure_message(text, text, text, text, text, f"http://x.example/{text}")
    return thread_html(first, [b"png", first])


def an_outbox(text: str) -> str:
    entry = OutboxEntry(text, "critical", datetime(2026, 1, 5, tzinfo=UTC), "a/preview.html", [])
    return render("alerts/templates/outbox.html", entries=[replace(entry, answers=[entry])])


def a_demo(text: str) -> str:
    rows = [Row(text, text, f"{kind} {text}", text, text) for kind in ("warning", "deployed", "no drift")]
    return render(
        "reports/templates/demo.html", title=text, footer=text, summary=text, stopped=True,
        places=[(text, "http://x.example/", text)], rows=rows, messages=[(text, "outbox/index.html")],
    )  # fmt: skip


def an_adoption(text: str) -> str:
    model: Any = None
    versions = [ForeignVersion(text, model, datetime(2026, 1, day, tzinfo=UTC)) for day in (5, 6)]
    decision = trial(gain=(-0.02, -0.03, -0.01), verdict="worse", reason=text).decision
    return adoption_page(
        Adoption(
            spec=small_spec(), place=text, description=ForeignDescription(text, (), 0, (), ()),
            versions=ForeignVersions(text, tuple(versions), versions[0]),
            decisions=[VersionDecision(versions[0], "", None, text), VersionDecision(versions[1], text, decision, text)],
            windows=9, stretches=[Stretch(text, "2026-01-05", "2026-01-06", 2, "critical", text)],
        )
    )  # fmt: skip


PAGES = [
    a_card,
    a_validation_page,
    a_drift_page,
    a_backtest_page,
    a_description,
    a_preview,
    a_thread,
    an_outbox,
    a_demo,
    an_adoption,
]
