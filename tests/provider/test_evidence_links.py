"""People who are asked or told find the evidence: the links in the approval form and in the message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from evermodel.alerts.retrain_message import retrain_message
from evermodel.evaluation.decision import Gate
from evermodel.reports.retrain.approval_form import approval_text
from evermodel.reports.retrain.log_decision_page import evidence_links
from evermodel_provider.operators.request import signed
from support.scored_samples import GATES, trial

RUN: Any = SimpleNamespace(info=SimpleNamespace(experiment_id="7", run_id="abc"))
PAGE = "http://mlflow:5000/#/experiments/7/runs/abc/artifacts/decision.html"
CARD = "http://mlflow:5000/#/experiments/7/runs/abc/artifacts/model_card.html"


def test_the_approval_form_leads_to_page_and_card_and_keeps_wild_text_in_its_cell() -> None:
    wild = Gate("slice a|b", "warn", None, "none", "<img src=x> | more\nlines")
    decision = trial(gates=(*GATES, wild)).decision
    body = approval_text(decision, evidence_links("http://mlflow:5000", RUN))
    assert f"[Decision](<{PAGE}>) · [Model card](<{CARD}>)" in body
    assert "| slice a\\|b | warn | &lt;img src=x&gt; \\| more lines | none |" in body.splitlines()
    assert all(gate.name in body for gate in GATES)


def test_the_approval_form_says_first_what_decides_and_what_is_doubtful() -> None:
    decision = trial(gates=GATES).decision
    lines = approval_text(decision, {}, reason="weekly schedule", until="2026-01-09 06:00 UTC").splitlines()
    assert lines[2].startswith(f"**{decision.metric} ")
    assert "gain " in lines[2]
    assert "- latency (fail): one row: 12.50 ms" in lines
    assert "**Trained because**: weekly schedule" in lines
    assert "**Answer until** 2026-01-09 06:00 UTC; without an answer the version is rejected." in lines
    assert lines.index("| gate | verdict | evidence | threshold |") > lines.index("**Look at this first**")


def test_the_message_leads_to_the_page_and_to_the_card_of_what_was_registered() -> None:
    outcome: dict[str, Any] = {
        "model": "small",
        "run_key": "retrain/small/1",
        "reason": "weekly schedule",
        "verdict": "better",
        "shipped": True,
        "version": "5",
        "previous": "4",
        "metric": "roc_auc",
        "challenger": 0.8,
        "champion": 0.7,
        "difference": 0.1,
        "low": 0.05,
        "high": 0.15,
        "rows": 300,
        "gates": [],
        "approval": "auto",
        "by": "auto",
        "as_of": "2013-03-11",
    }
    for registered in (True, False):
        links = evidence_links("http://mlflow:5000", RUN, registered=registered)
        shown = str(retrain_message({**outcome, "links": links}).blocks)
        assert f"<{PAGE}|Decision>" in shown
        assert (f"<{CARD}|Model card>" in shown) is registered


def test_who_forced_a_challenger_through_is_part_of_the_reason_where_it_is_known() -> None:
    known: Any = {"dag_run": SimpleNamespace(triggering_user_name="ada")}
    unknown: Any = {"dag_run": SimpleNamespace(triggering_user_name=None)}
    assert signed("new tariff", known) == "new tariff (ada)"
    assert signed("new tariff", unknown) == "new tariff"
