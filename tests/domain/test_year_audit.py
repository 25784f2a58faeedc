"""What was promised of a year and what came true, from a registry and its monitored days."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evermodel.alerts.digest_message import ModelWeek
from evermodel.alerts.year_audit import Promise, YearAudit, keep_audit, year_audit
from evermodel.cli import app
from evermodel.evaluation.next_window import GainPrediction
from evermodel.monitoring.drift.verdict import Performance, PromotionEffect
from evermodel.monitoring.retrain_history import tags_of
from evermodel.monitoring.summary_tags import effect_tag
from evermodel.registry.tags import GATE_PREDICTION
from evermodel.registry.tracking import keyed_run
from evermodel.reports.overview.history import history_of
from evermodel.reports.overview.store import Store, StoredModel
from support.registry_shelf import START, Shelf
from support.small_spec import small_spec
from support.verdicts import a_problem, a_verdict

END = START + timedelta(days=60)


@pytest.fixture
def shelf(mlflow_store: str) -> Shelf:
    """Version 2 follows version 1, and version 3 version 2; the second and third were predicted to gain."""
    shelf = Shelf(mlflow_store)
    for number, before in ((1, None), (2, "1"), (3, "2")):
        shelf.register(f"key {number}")
        shelf.promote(str(number), before, f"key {number}", day=10 * (number - 1))
        if before is not None:
            window = (START.isoformat(), START.isoformat())
            promised = GainPrediction("roc_auc", 0.01, -0.01, 0.03, 0.95, window, before)
            shelf.client.set_model_version_tag(shelf.name, str(number), GATE_PREDICTION, promised.to_text())
    return shelf


def monitored(shelf: Shelf, number: int, performance: Performance, **changes: Any) -> None:
    """Store the verdict on a day."""
    problems = (a_problem(kind="performance", severity="none"),)
    verdict = a_verdict(model=shelf.name, performance=performance, problems=problems, **changes)
    day = f"{START + timedelta(days=number):%Y-%m-%d}"
    tags = tags_of(verdict) | effect_tag(verdict)
    keyed_run(
        shelf.client,
        f"{shelf.name}-monitoring",
        f"drift/{shelf.name}/{day}",
        kind="drift",
        name=day,
        tags=tags,
    )


def effect(version: str, day: int, gain: float, high: float) -> PromotionEffect:
    since = (START + timedelta(days=day)).isoformat()
    before = str(int(version) - 1)
    return PromotionEffect(version, before, "roc_auc", since, 0.01, 0.05, 9, 900, gain, gain - 0.02, high)


def line(audit: YearAudit, name: str) -> Promise:
    return next(promise for promise in audit.promises if promise.name == name)


def test_what_came_true_is_read_from_the_models_own_history(shelf: Shelf, tmp_path: Path) -> None:
    spec = small_spec(name=shelf.name)
    good = Performance("roc_auc", 500, 0.75, 0.73, 0.77, 0.75, 0.75, 0.74, 0.76)
    fell = Performance("roc_auc", 500, 0.70, 0.68, 0.72, 0.75, 0.75, 0.74, 0.76)
    monitored(shelf, 19, good, version="2", promotion=effect("2", 10, 0.02, 0.04))
    monitored(shelf, 29, good, version="3", promotion=effect("3", 20, -0.05, -0.03))
    monitored(shelf, 30, fell, version="3")

    audit = year_audit(spec, shelf.client, END)

    assert (audit.promotions, audit.windows) == (2, 3)
    gate = line(audit, "gate's intervals")
    assert (gate.count, gate.of, gate.kept) == (1, 2, True), "one of two is in line with 95 %"
    hurt = line(audit, "promotions that hurt")
    assert hurt.realised == "1 of 2 (1 proved)"
    assert hurt.kept is True
    assert "1 of 3 windows below the baseline" in line(audit, "performance incidents").realised
    estimates = line(audit, "estimates before labels")
    assert (estimates.count, estimates.of) == (0, 1), "the labels of day 29's window show .70, on day 30"
    assert line(audit, "lost to the anchor").realised == "not known"
    assert len(audit.summary()) == 2
    assert "promotions that hurt 1 of 2 (1 proved)" in audit.summary()[0]
    assert (audit.opened, audit.false_expected) == (0, pytest.approx(3 * 0.02))
    keep_audit(shelf.client, audit)
    tags = shelf.client.get_registered_model(shelf.name).tags
    store = Store(tmp_path / "page.sqlite")
    store.keep_models({shelf.name: StoredModel(shelf.name, {}, tags)})
    page = history_of(store, shelf.name)
    assert page is not None
    assert YearAudit.from_json(page.year) == audit, "the Models page shows the same"
    assert year_audit(spec, shelf.client, END + timedelta(days=400)).windows == 0


def test_what_is_not_known_yet_is_said_and_costs_no_line_of_the_digest(shelf: Shelf) -> None:
    audit = year_audit(small_spec(name=shelf.name), shelf.client, END)

    assert "2 promotions have no matured comparison" in line(audit, "promotions that hurt").note
    assert {promise.kept for promise in audit.promises} == {None}
    assert audit.summary() == ()


def test_a_promise_that_the_year_contradicts_makes_the_week_loud() -> None:
    broken = Promise("gate's intervals", "95% hold", "10 of 20 held", 10, 20, kept=False)
    audit = YearAudit("churn", START.isoformat(), END.isoformat(), 20, 52, (broken,))
    week = ModelWeek("churn", version="7", windows=7, year=audit.summary(), broken=bool(audit.broken))

    assert audit.summary()[1] == "promises: not kept: gate's intervals"
    assert not week.quiet


@pytest.mark.parametrize("words", [["audit", "away", "--year"], ["audit", "year", "away", "--json"]])
def test_the_command_is_spelled_both_ways(words: list[str]) -> None:
    done = CliRunner().invoke(app, words)
    assert "away" in str(done.exception), "no such spec, which the command of the year has read"
