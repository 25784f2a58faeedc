from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from evermodel.evaluation.decision import Gate
from evermodel.reports.retrain.decision_page import decision_page
from evermodel.reports.retrain.document import Bullets, PageSection, PageTable, marked, to_markdown
from evermodel.reports.retrain.numbers import Importance, numbers_of, permutation_importance
from evermodel.reports.retrain.scored_sample import ScoredSample
from support.scored_samples import GATES, trial

WILD = '<script>alert("x")</script> $\\frac{1}{$ & \x07 "quoted"'
PLOTS = {
    "binary": {"ROC", "Precision and recall", "Calibration", "Probabilities by outcome"},
    "multiclass": {"Confusion matrix", "Calibration"},
    "regression": {"Predicted and true", "Residuals"},
}
BOTH = {"Gain over the champion", "Feature importance"}


class Read(HTMLParser):
    """What a browser would see: the text, the tags, the pictures' names and every address."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.pictures, self.addresses = "", set[str](), set[str](), list[str]()
        self.rows: list[list[str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        if tag in ("tr", "section", "p"):
            self.rows.append([])
        if tag == "img":
            self.pictures.add(found["alt"] or "")
        self.addresses += [found[key] or "" for key in ("src", "href") if key in found]

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.rows and data.strip():
            self.rows[-1].append(data)


def page_of(found: ScoredSample, importance: Importance | None = None, **facts: Any) -> Read:
    numbers = numbers_of(found, importance or permutation_importance(found))
    return Read(decision_page(found, numbers, facts, {"MLflow run": "http://mlflow/#/runs/1"}))


def with_gates(found: ScoredSample, *gates: Gate) -> ScoredSample:
    return replace(found, decision=replace(found.decision, gates=gates))


def test_the_page_holds_every_gate_with_threshold_value_evidence_and_verdict() -> None:
    page = page_of(trial())
    for gate, value in zip(GATES, ("0.1000", "12.5000", "0.2500"), strict=True):
        assert [gate.verdict, gate.name, value, gate.threshold, gate.detail] in page.rows
    verdicts = [row[0] for row in page.rows if row and row[0] in ("pass", "fail", "warn")]
    assert verdicts == ["fail", "warn", "pass"]


def test_the_headline_says_how_it_ended_and_why() -> None:
    refused = page_of(trial()).text
    assert "Does not ship" in refused
    assert "1 of 3 gates failed: latency." in refused
    forced = page_of(trial(ship=True, forced=True, reason="forced: new tariff (ada)")).text
    assert "May ship: forced by a person" in forced
    assert "forced: new tariff (ada)" in forced
    fine = page_of(with_gates(trial(ship=True, reason="all gates passed"), GATES[0])).text
    assert "May ship" in fine
    assert "No gate failed." in fine
    assert "by a person" not in fine


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_each_task_gets_its_plots_with_and_without_a_champion(task: str) -> None:
    assert page_of(trial(task)).pictures == PLOTS[task] | BOTH
    cold = page_of(trial(task, champion=False))
    assert cold.pictures == PLOTS[task] | {"Feature importance"}
    assert "Without a champion, the absolute gates decide" in cold.text
    assert "champion (version 4)" not in cold.text


def test_a_champion_that_cannot_answer_or_a_value_that_is_none_does_not_stop_the_page() -> None:
    broken = trial(mute=True)
    assert broken.champion is None
    assert "version 4" in page_of(broken).text
    nan = (float("nan"),) * 3
    assert "ROC" in page_of(trial(challenger=nan, gain=nan)).pictures


def test_the_page_loads_and_runs_nothing_whatever_the_data_holds() -> None:
    wild = trial(candidate=WILD, reason=WILD, run_key=WILD)
    spec = wild.spec.model_copy(
        update={"features": wild.spec.features.model_copy(update={"numeric": ("amount", WILD)})}
    )
    features = wild.features.rename(columns={"age": WILD})
    gates = (replace(GATES[1], name=WILD, detail=WILD), replace(GATES[2], name=f"slice {WILD}", detail=WILD))
    page = page_of(with_gates(replace(wild, spec=spec, features=features), *gates), snapshot=WILD)
    assert not page.tags & {"script", "iframe", "object", "link", "svg", "form", "i"}
    outside = [a for a in page.addresses if not a.startswith("data:image/svg+xml;base64,")]
    assert outside == ["http://mlflow/#/runs/1"]
    assert page.text.count('<script>alert("x")</script>') >= 5
    assert "\x07" not in page.text


def test_slices_have_a_part_of_their_own_and_those_that_failed_also_stand_among_the_gates() -> None:
    passed = Gate("slice colour = red", "pass", 0.01, "gain ≥ -0.02", "100 rows")
    failed = Gate("slice colour = blue", "fail", -0.2, "gain ≥ -0.02", "worse than the champion")
    unjudged = Gate("slice colour = any other", "warn", None, "gain ≥ -0.02", "not judged: 3 rows")
    page = page_of(with_gates(trial(), *GATES, passed, failed, unjudged))
    assert "Gain by slice" in page.pictures
    names = [row[1] for row in page.rows if len(row) > 1]
    counts = [names.count(gate.name) for gate in (passed, failed, unjudged)]
    assert counts == [1, 2, 1]


def test_importance_finds_the_only_feature_that_counts_and_is_the_same_every_time() -> None:
    found = permutation_importance(trial())
    assert (found.rows, found.repeats) == (300, 3)
    for losses in (found.losses["challenger"], found.losses["champion"]):
        assert losses["amount"] > 0.2
        assert (losses["age"], losses["colour"]) == (0.0, 0.0)
    assert permutation_importance(trial()) == found


def test_without_time_there_is_no_importance_and_the_page_says_so() -> None:
    found = permutation_importance(trial(), seconds=0)
    assert (found.repeats, found.losses) == (0, {})
    page = page_of(trial(), found)
    assert "There was no time to measure the importance" in page.text
    assert "Feature importance" not in page.pictures


def test_numbers_have_the_same_names_for_every_retrain_and_keep_the_intervals_of_the_decision() -> None:
    numbers = numbers_of(trial(), Importance(0, 0, {}))
    flat = numbers.flat()
    assert flat["test_roc_auc"] == 0.8123
    assert (flat["test_roc_auc_low"], flat["test_roc_auc_high"]) == (0.77, 0.85)
    assert flat["test_roc_auc_champion"] == 0.8111
    for name in ("average_precision", "log_loss", "brier"):
        assert flat[f"test_{name}_low"] < flat[f"test_{name}"] < flat[f"test_{name}_high"]
    # The champion's slope is too flat for its truth: its probabilities say less than what comes.
    assert flat["test_calibration_error"] < flat["test_calibration_error_champion"]
    cold = numbers_of(trial("regression", champion=False), Importance(0, 0, {})).flat()
    assert set(cold) == {f"test_{m}{end}" for m in ("rmse", "mae", "r2") for end in ("", "_low", "_high")}


def test_markdown_keeps_wild_text_in_its_cell() -> None:
    text = to_markdown(
        "t", [PageSection("s", [PageTable(("a", "b"), [("x|y\nz", "<b>*_q_*")]), Bullets(["# no"])])]
    )
    assert "| x\\|y z | &lt;b&gt;\\*\\_q\\_\\* |" in text
    assert "- \\# no" in text
    assert marked("log_loss") == "log_loss"
