"""One day on every surface: the figures that its verdict and a decision are based on are the same on all of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from evermodel.alerts.approval_message import approval_message
from evermodel.alerts.digest_message import ModelWeek, TeamWeek, digest_message
from evermodel.alerts.incident_message import IncidentView, incident_message
from evermodel.alerts.message import Message
from evermodel.alerts.thread_messages import escalation_message, reminder_message, resolved_message
from evermodel.cli.drift import _show
from evermodel.monitoring.drift.report_text import note
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.performance.monitor import evaluate_performance
from evermodel.monitoring.problems import Problem
from evermodel.monitoring.retrain_history import tags_of
from evermodel.monitoring.summary_tags import decision_tag
from evermodel.registry import tags as tag
from evermodel.reports.drift_page import drift_page
from evermodel.reports.overview.records import record_of
from evermodel.reports.retrain.approval_form import approval_text
from evermodel.reports.retrain.decision_page import decision_page
from evermodel.reports.retrain.model_card import Card, Tried
from evermodel.reports.retrain.numbers import Importance, numbers_of
from support.airflow_runs import database
from support.models_page import ModelsPage
from support.performance_log import START, PerformanceWorld
from support.scored_samples import trial
from support.small_spec import small_spec
from support.verdicts import a_column, a_verdict

AS_OF = START + timedelta(days=9)
NUMBER = r"[+-]?\d+\.\d+"
# The metric with its interval, and what it is compared with, as any surface words it.
METRIC = re.compile(rf"roc_auc ({NUMBER}) \(({NUMBER}) to ({NUMBER})\)")
BASELINE, LIMIT = re.compile(rf"baseline ({NUMBER})"), re.compile(rf"limit ({NUMBER})")
TESTS, COLUMNS = re.compile(r"(\d+) of (\d+) tests"), re.compile(r"(\d+) of (\d+) columns")
HUMID = re.compile(r"PSI (\d+\.\d+)")


@pytest.fixture
def day(tmp_path: Path) -> DriftVerdict:
    """A window whose first days were answered by version 0 and are far better than those of the evaluated version 1."""
    source, label = {"path": str(tmp_path / "small.parquet")}, {"column": "late", "delay": "2d"}
    spec = small_spec(source=source, label=label, performance={"window": "7d", "margin": 0.02})
    world = PerformanceWorld(tmp_path, spec)
    before = world.predict(range(3), version="0")
    world.label(_joined(before, world.predict(range(3, 7), concept=0.8)))
    found = evaluate_performance(world.spec, world.lake, AS_OF, world.promise())
    columns = (
        a_column(effect=2.9161, calm=2.91, threshold=2.91),
        a_column(what="missing", effect=0.05, severity="warning"),
        a_column(column="temp", severity="none", effect=0.01),
    )
    drift = Problem("drift", "critical", "1 of 2 columns drift: humid; also drifting: missing humid")
    problems = (drift, found.problem)
    return a_verdict(
        model="small", version="1", problems=problems, performance=found.performance, columns=columns, reason=drift.reason
    )  # fmt: skip


def _joined(*tables: Any) -> Any:
    import pyarrow as pa

    return pa.concat_tables(tables)


def test_the_verdict_and_the_figure_beside_it_are_of_the_same_rows(day: DriftVerdict) -> None:
    performance, reason = day.performance, day.problems[1].reason

    assert day.problems[1].severity == "critical"
    assert performance.rows == 400  # the labels of version 1, not of the window
    assert f"on {performance.rows:,} labels" in reason
    assert METRIC.search(reason)[1] == f"{performance.value:.3f}"  # type: ignore[index]
    assert performance.promised is not None
    assert performance.limit == pytest.approx(performance.promised - 0.02)


def test_all_surfaces_of_a_day_state_the_same_figures(
    day: DriftVerdict, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(tmp_path / "passwords.json"))
    surfaces = _messages(day) | _pages(day, tmp_path)
    _show(day, [], "")
    surfaces["command line"] = capsys.readouterr().out
    found = day.performance

    metric = tuple(f"{one:.3f}" for one in (found.value, found.low, found.high))
    for name, text in surfaces.items():
        assert set(METRIC.findall(text)) == {metric}, name
        assert set(BASELINE.findall(text)) == {f"{found.promised:.3f}"}, name
        assert set(LIMIT.findall(text)) == {f"{found.limit:.3f}"}, name
        assert set(TESTS.findall(text)) <= {("2", "3")}, name
        assert set(COLUMNS.findall(text)) <= {("1", "2")}, name
        assert set(HUMID.findall(text)) <= {"2.92", "0.05", "0.01"}, name  # the last of the quiet column
    for name in ("opening", "drift page", "Evidently", "command line"):
        assert TESTS.search(surfaces[name]), name
    for name in ("opening", "reminder", "escalation", "resolved", "drift page", "Models page"):
        assert "2.92" in HUMID.findall(surfaces[name]), name
    for name in ("opening", "reminder", "escalation", "Models page"):
        assert "2013-08-03" in surfaces[name], name  # since when


def _messages(day: DriftVerdict) -> dict[str, str]:
    view = IncidentView("drift-1", day.problems[0], day, "2013-08-03T00:00:00+00:00", "critical")
    fallen = replace(view, problem=day.problems[1])
    week = ModelWeek("small", "1", "2013-08-01", windows=7, performance=day.performance)
    digest = digest_message(TeamWeek("data", "2013-08-01", "2013-08-08", (week,)), {})
    return {
        "opening": _said(incident_message(view)),
        "opening, performance": _said(incident_message(fallen)),
        "reminder": _said(reminder_message(view, AS_OF)),
        "escalation": _said(escalation_message(view)),
        "resolved": _said(resolved_message(replace(view, over=True))),
        "resolved, performance": _said(resolved_message(replace(fallen, over=True))),
        "digest": _said(digest),
    }


def _said(message: Message) -> str:
    """Return the text of the blocks and the plain text, without marks."""
    return json.dumps(message.blocks, ensure_ascii=False).replace("*", "").replace("`", "") + message.text


def _pages(day: DriftVerdict, home: Path) -> dict[str, str]:
    evidently = note(small_spec(), day, 100, (), drawn=2).replace("\\", "")
    from airflow.api_fastapi.app import create_auth_manager

    database()
    create_auth_manager()
    page = ModelsPage(home)
    page.as_user("ADMIN")
    page.text = "text"
    run = {"run_id": "r1", "experiment_id": "small-2", "start_time": 1, "status": "FINISHED"}
    opened = {"incident": "drift-1", "kind": "drift", "action": "open", "severity": "critical", "at": "2013-08-03", "opened": "2013-08-03"}  # fmt: skip
    tags = tags_of(day) | {tag.KIND: "drift", tag.RUN_KEY: "drift/small/2013-08-08", tag.INCIDENTS: json.dumps([opened])}  # fmt: skip
    record = record_of({"info": run, "data": {"tags": [{"key": k, "value": v} for k, v in tags.items()]}})
    assert record is not None
    page.keep("small", **record.facts)
    html = page.get("/models/small", accept="text/html").text
    row = _plain(page.get("/", accept="text/html").text)
    listed = re.search(rf"({NUMBER}) roc_auc ({NUMBER}) to ({NUMBER}) · (baseline {NUMBER})", row)
    assert listed is not None
    shown = json.loads(re.search(r'id="chart">(.*?)</script>', html, re.S)[1])["days"][-1]  # type: ignore[index]
    # The card, in the words of the other surfaces; what the time line draws; the table of days.
    told = f"roc_auc {shown['value']:.3f} ({shown['low']:.3f} to {shown['high']:.3f})"
    plain = _plain(html.partition("</script>\n  <details>")[0])
    card = re.search(rf"roc_auc ({NUMBER}) ({NUMBER}) to ({NUMBER})", plain)
    assert card is not None
    assert card.groups() == METRIC.fullmatch(told).groups()  # type: ignore[union-attr]
    return {
        "Models": "roc_auc {} ({} to {}), {}".format(*listed.groups())
        + f" limit {day.performance.limit:.3f}",
        "drift page": unescape(re.sub(r"<[^>]+>", " ", drift_page(day))),
        "Evidently": f"{evidently} {day.problems[1].reason} limit {day.performance.limit:.3f}",
        "Models page": f"{plain} {told} {' '.join(shown['columns'])}",
    }


def _plain(html: str) -> str:
    """Return the text of a page."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))


def test_all_surfaces_of_a_decision_state_the_same_figures() -> None:
    found = trial(reason="not worse", gates=())
    decision = found.decision
    facts = json.loads(decision_tag(decision)[tag.DECISION_FACTS])
    numbers = numbers_of(found, Importance(0, 0, {}))
    tried = [Tried(decision.candidate, "trees", {}, {})]
    card = Card(found.spec, "5", AS_OF, decision, tried, {"metrics": numbers.metrics}, {}, {})
    surfaces = {
        "card": card.html(),
        "page": decision_page(found, numbers, {}, {}),
        "form": approval_text(decision, {}),
        "message": _said(approval_message(found.spec, "5", decision, {})),
        "Models page": "{:.4f} ({:.4f} to {:.4f})".format(*facts["challenger"]) + f" on {facts['rows']}",
    }
    for name, text in surfaces.items():
        text = unescape(re.sub(r"<[^>]+>", " ", text))
        for figure in ("0.8123", "0.7700", "0.8500", "300"):
            assert figure in text, (name, figure)
