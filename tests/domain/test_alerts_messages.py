"""What messages say, and that no data can push them over Slack's limits."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from evermodel.alerts.approval_message import ApprovalForm, approval_message
from evermodel.alerts.failure_message import failure_message
from evermodel.alerts.incident_message import IncidentView, incident_message
from evermodel.alerts.message import Message
from evermodel.alerts.outbox import preview_html
from evermodel.alerts.retrain_message import retrain_message
from evermodel.alerts.thread_messages import escalation_message, reminder_message, resolved_message
from evermodel.evaluation.decision import Decision, Gate
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict, Performance
from evermodel.monitoring.problems import Problem
from support.slack_limits import block_problems, blocks_width, units
from support.small_spec import small_spec
from support.verdicts import a_column, a_problem, a_verdict, bad_data

LINKS = {
    "Evidently report": "http://mlflow.example/report?a=1&b=2",
    "Airflow run": "http://airflow.example/run",
}


def an_outcome(**changes: Any) -> dict[str, Any]:
    return {
        "model": "flights",
        "run_key": "flights/2013-08-05",
        "reason": "drift is critical in humid",
        "verdict": "better",
        "shipped": True,
        "version": "8",
        "previous": "7",
        "metric": "roc_auc",
        "challenger": 0.7312,
        "champion": 0.7124,
        "difference": 0.0188,
        "low": 0.0101,
        "high": 0.0271,
        "rows": 5432,
        "gates": [{"name": "floor", "verdict": "pass", "value": 0.73, "threshold": 0.6, "detail": ""}],
        "approval": "auto",
        "by": "airflow",
        "as_of": "2013-08-05",
        "links": LINKS,
        **changes,
    }


def said(message: Message) -> str:
    return json.dumps(message.blocks, ensure_ascii=False)


def a_view(**changes: Any) -> IncidentView:
    verdict = changes.pop("verdict", a_verdict())
    view = IncidentView(
        name="drift-3-1f",
        problem=verdict.problem("drift") or a_problem(),
        verdict=verdict,
        opened="2013-08-06T00:00:00+00:00",
        worst="critical",
        links=LINKS,
        next_step="A retrain was requested.",
        cause="only humid moved",
        owner="data-science",
        mention=("U024BE7LH",),
    )
    return replace(view, **changes)


def test_the_first_message_tells_what_an_on_call_person_needs() -> None:
    message = incident_message(a_view())
    assert (message.severity, message.model, message.key) == ("critical", "flights", "drift-3-1f")
    assert message.title == "\N{LARGE RED CIRCLE} flights: drift (critical)"
    for needed in (
        "1 of 2 columns drifted.",
        "*Likely cause:* only humid moved",
        "<@U024BE7LH>",
        "2013-08-01 until 2013-08-08",
        "2013-08-06",
        "`humid` *PSI 0.41*, threshold 0.1, normal up to 0.08: median from 60 to 75",
        "(1 of 2 tests)",
        "6,321 against 45,678 of training",
        "roc_auc 0.712 (0.695 to 0.729), baseline 0.751",
        "data-science",
        "*Next:* A retrain was requested.",
        "at most 1 % of quiet days",
        "<http://mlflow.example/report?a=1&amp;b=2|Evidently report>",
    ):
        assert needed in said(message)
    assert "temp" not in said(message)
    for needed in ("humid: PSI 0.41 (critical)", "Likely cause: only humid moved", "Owner: data-science"):
        assert needed in message.text


@pytest.mark.parametrize(
    ("kind", "title"),
    [
        ("drift", "drift"),
        ("quality", "bad data"),
        ("performance", "performance below baseline"),
        ("serving", "serving below its objectives"),
    ],
)
def test_each_kind_of_problem_has_its_title_and_its_details(kind: Any, title: str) -> None:
    problem = Problem(kind, "warning", "something is wrong", details=("first detail", "second detail"))
    message = incident_message(a_view(problem=problem, worst="warning"))
    assert message.plain_title == f"[warning] flights: {title} (warning)"
    assert ("PSI" in said(message)) == (kind == "drift")
    assert ("second detail" in said(message)) == (kind != "drift")
    assert ("Performance" in said(message)) == (kind != "serving")


def test_other_problems_of_the_same_window_are_named() -> None:
    verdict = a_verdict(problems=(a_problem(), bad_data("temp: 90% missing")))
    assert "*At the same time:* bad data (warning)" in said(incident_message(a_view(verdict=verdict)))


def test_what_was_tested_is_said_where_it_is_not_the_distribution() -> None:
    verdict = a_verdict(columns=(a_column(what="missing", calm=0.2, threshold=0.2),))
    assert "`humid` (missing values) *PSI 0.41*, normal up to 0.2" in said(
        incident_message(a_view(verdict=verdict))
    )


def test_an_incident_that_eased_says_so() -> None:
    view = a_view(problem=a_problem(severity="warning"))
    assert incident_message(view).plain_title == "[warning] flights: drift (warning now)"


@pytest.mark.parametrize(
    ("performance", "needed"),
    [
        ({"value": None}, "labels of this version have matured"),
        ({"value": None, "estimated": 0.7, "estimated_low": 0.65, "estimated_high": 0.75},
         "roc_auc 0.700 (0.650 to 0.750), estimated before labels, baseline 0.751"),
    ],
)  # fmt: skip
def test_performance_before_labels(performance: dict[str, Any], needed: str) -> None:
    assert needed in said(incident_message(a_view(verdict=a_verdict(performance=performance))))


def test_answers_in_the_thread_are_short_and_have_keys_of_their_own() -> None:
    view = a_view()
    as_of = datetime(2013, 8, 9, tzinfo=UTC)
    escalated, reminder = escalation_message(view), reminder_message(view, as_of)
    assert (escalated.key, reminder.key) == ("drift-3-1f-critical", "drift-3-1f-remind-2013-08-09")
    assert escalated.plain_title == "[critical] flights: drift became critical"
    assert reminder.plain_title == "[critical] flights: drift continues, day 4 (critical)"
    for message in (escalated, reminder):
        assert "<@U024BE7LH>" in said(message)
        assert len(message.blocks) <= 6


def test_the_end_of_an_incident() -> None:
    verdict = a_verdict(
        severity="none",
        problems=(a_problem(severity="none", reason="No column drifted."),),
        columns=(a_column(severity="none", effect=0.02),),
    )
    view = a_view(verdict=verdict, over=True)
    answer, first = resolved_message(view, why="Version 8 was retrained."), incident_message(view)
    assert (answer.severity, first.severity) == ("resolved", "resolved")
    for needed in (
        "drift resolved",
        "Version 8 was retrained.",
        "No column drifted.",
        "2013-08-06",
        "0.02 in `humid`",
    ):
        assert needed in said(answer)
    assert answer.key == "drift-3-1f-resolved"
    assert first.key == a_view().name
    for gone in ("Likely cause", "<@U024BE7LH>", "Next"):
        assert gone not in said(first)


def test_plain_text_is_ascii_where_the_data_is() -> None:
    messages = [
        incident_message(a_view()),
        escalation_message(a_view()),
        reminder_message(a_view(), datetime(2013, 8, 9, tzinfo=UTC)),
        resolved_message(a_view(over=True)),
        retrain_message(an_outcome()),
        failure_message("flights", "retrain_flights", "train", "r1", "boom", ""),
    ]
    assert [message.text for message in messages if not message.text.isascii()] == []


def test_new_champion() -> None:
    message = retrain_message(an_outcome())
    assert "new champion, version 8" in message.title
    for needed in (
        "Version 8 replaces version 7 as champion.",
        "0.7124 → 0.7312 (+0.0188, interval +0.0101 to +0.0271)",
        "drift is critical in humid",
        "1 of 1 passed",
    ):
        assert needed in said(message)


def test_first_champion() -> None:
    nothing = dict.fromkeys(("champion", "difference", "low", "high", "previous"))
    message = retrain_message(an_outcome(verdict="cold_start", version="1", **nothing))
    assert "first champion, version 1" in message.title
    assert "0.7312 (no champion to compare with)" in said(message)


def test_kept_champion_names_the_gate_that_said_no() -> None:
    gate = {
        "name": "margin",
        "verdict": "fail",
        "value": -0.02,
        "threshold": -0.01,
        "detail": "reaches -0.02",
    }
    message = retrain_message(an_outcome(shipped=False, version=None, verdict="worse", gates=[gate]))
    assert "champion kept" in message.title
    assert "Version 7 stays champion: margin failed." in said(message)
    assert "`margin` failed, -0.02 against -0.01: reaches -0.02" in said(message)


@pytest.mark.parametrize(
    ("by", "expected"), [("jane", "rejected by jane"), ("", "it was not approved in time")]
)
def test_rejected_by_a_person(by: str, expected: str) -> None:
    message = retrain_message(an_outcome(shipped=False, approval="rejected", by=by))
    assert "rejected" in message.title
    assert expected in said(message)
    assert "Version 7 stays champion" in said(message)


def test_failure_message_hides_credentials() -> None:
    error = "cannot reach postgres://jane:hunter2@db/prod with xoxb-123-abc"
    message = failure_message(
        "flights", "retrain_flights", "train", "r1", error, "http://airflow.example/log"
    )
    for secret in ("hunter2", "xoxb-123"):
        assert secret not in said(message) + message.text
    assert "postgres://***db/prod" in message.text


def test_data_cannot_format_mention_or_link() -> None:
    evil = "<!channel> *bold* <http://evil.example|click> & `code`"
    message = incident_message(
        a_view(verdict=a_verdict(problems=(a_problem(reason=evil),), columns=(a_column(column=evil),)))
    )
    texts = re.findall(r'"text": "([^"]*)"', said(message))
    assert not any("<!channel>" in text or "<http://evil" in text for text in texts)
    assert any("&lt;!channel&gt; *\u200bbold*\u200b" in text for text in texts)
    assert "<!channel>" not in message.fallback


def test_preview_shows_data_as_text() -> None:
    evil = "<script>alert(1)</script> \" onerror='x'"
    verdict = a_verdict(reason=evil, columns=(a_column(column=evil, summary=evil),), model=evil)
    links = {evil: "http://x.example/\"'<>" + evil}
    page = preview_html(incident_message(a_view(verdict=verdict, links=links, cause=evil)), None, evil)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r'href="[^"]*"[^ >]', page)


wild = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=st.sampled_from("&<>`*_~|\n\r\x00\ud800\u202e😀a "), max_size=60),
    st.builds(lambda part, times: part * times, st.text(min_size=1, max_size=8), st.integers(1, 600)),
)
shares = st.floats(0, 5)
severities = st.sampled_from(["none", "warning", "critical"])
some = st.none() | shares
performances = st.builds(
    Performance, metric=wild, rows=st.integers(0, 10**12), value=some, low=some, high=some, promised=some
)
kinds = st.sampled_from(["drift", "quality", "performance", "serving", "skew"])
problems = st.builds(
    Problem,
    kind=kinds,
    severity=severities,
    reason=wild,
    cause=wild,
    details=st.lists(wild, max_size=12).map(tuple),
)
columns = st.builds(
    ColumnDrift,
    column=wild,
    kind=st.just("categorical"),
    what=st.sampled_from(["feature", "missing", "category", "concept"]),
    method=wild,
    measure=wild,
    effect=shares,
    low=shares,
    high=shares,
    calm=shares,
    threshold=shares,
    p_value=st.floats(0, 1),
    reference=wild,
    severity=severities,
    summary=wild,
    bins=st.just(()),
)
verdicts = st.builds(
    DriftVerdict,
    model=wild,
    version=wild,
    start=wild,
    end=wild,
    reference_rows=st.integers(0, 10**12),
    window_rows=st.integers(0, 10**12),
    false_alarm_rate=st.floats(0.0001, 0.5),
    severity=severities,
    reason=wild,
    reference=wild,
    problems=st.lists(problems, max_size=4, unique_by=lambda problem: problem.kind).map(tuple),
    performance=performances,
    columns=st.lists(columns, max_size=12).map(tuple),
)
links = st.dictionaries(wild, wild.map(lambda tail: "http://x.example/" + tail) | wild, max_size=5)
gates = st.lists(
    st.fixed_dictionaries(
        {
            "name": wild,
            "verdict": st.sampled_from(["pass", "fail", "warn"]),
            "value": st.none() | shares | wild,
            "threshold": st.none() | shares | wild,
            "detail": wild,
        }
    ),
    max_size=12,
)


def assert_within_limits(message: Message) -> None:
    assert block_problems(message.blocks) == []
    assert blocks_width(message.blocks) <= 10_000
    assert units(message.fallback) <= 4000
    assert not re.search(r"&(?!amp;|lt;|gt;)|<(?!https?://)", message.fallback.replace("<http", ""))
    for text in re.findall(r'"text": "((?:[^"\\]|\\.)*)"', said(message)):
        assert not re.search(
            r"&(?!amp;|lt;|gt;)|<(?!https?://[^|<> ]+\|[^<>|]*>|@U024BE7LH>|!subteam\^S0614TZR7>|!here>)",
            text,
        )
    json.dumps(message.to_json()).encode()
    preview_html(message, None, None)


@settings(max_examples=15, deadline=None)
@given(wild, links)
def test_wild_approvals_keep_to_the_limits(text: str, links: dict[str, str]) -> None:
    spec = small_spec(owner=text, alerts={"mention": ["U024BE7LH"]})
    gate = Gate(text, "warn", 0.1, text, text)
    decision = Decision(
        text, text, text, text, text, text, "better", True, False, text, 10, (0.7, 0.6, 0.8), (0.7, 0.6, 0.8), None, (gate,) * 30
    )  # fmt: skip
    message = approval_message(spec, text, decision, {"Approve": "http://airflow.example/form", **links})
    assert_within_limits(message)
    assert "<@U024BE7LH>" in said(message)
    assert "actions" not in {block["type"] for block in message.blocks}, "nobody would hear a button"


def test_an_approval_has_buttons_that_carry_what_they_answer() -> None:
    decision = Decision(
        "flights", "k", "trees", "m", None, "auc", "better", True, False, "", 9, (0.7, 0.6, 0.8), None, None, ()
    )  # fmt: skip
    question = ApprovalForm(
        "retrain_flights", "manual__2013-03-11T00:00:00+00:00", "approve", "7", decision.digest
    )
    message = approval_message(
        small_spec(), "7", decision, {"Approve": "http://airflow.example/form"}, question
    )
    assert_within_limits(message)
    (actions,) = [block for block in message.blocks if block["type"] == "actions"]
    assert [button["text"]["text"] for button in actions["elements"]] == ["Approve", "Reject"]
    assert {ApprovalForm.loads(button["value"]) for button in actions["elements"]} == {question}
    assert "Approve" in preview_html(message, None, None)


@pytest.mark.parametrize("filler", ["&", "😀", "x "])
def test_everything_too_long_at_once(filler: str) -> None:
    long = filler * 3000
    verdict = a_verdict(
        model=long,
        version=long,
        reason=long,
        problems=(a_problem(reason=long), bad_data(*[long] * 20)),
        performance={"metric": long},
        columns=(a_column(column=long, summary=long),) * 40,
    )
    many = {f"{number}{long}": f"http://x.example/{'y' * 700}" for number in range(9)}
    message = incident_message(a_view(verdict=verdict, links=many, cause=long, next_step=long, owner=long))
    assert_within_limits(message)
    assert "|0" in message.blocks[-2]["text"]["text"], "the links must survive"


@settings(max_examples=20, deadline=None)
@given(verdicts, problems, links, wild, st.booleans())
@pytest.mark.slow
def test_wild_incidents_keep_to_the_limits(
    verdict: DriftVerdict, problem: Problem, links: dict[str, str], text: str, over: bool
) -> None:
    view = a_view(
        verdict=verdict, problem=problem, links=links, next_step=text, cause=text, owner=text, name=text, over=over,
        mention=("U024BE7LH", "S0614TZR7", "here"),
    )  # fmt: skip
    assert_within_limits(incident_message(view))
    assert_within_limits(escalation_message(view))
    assert_within_limits(reminder_message(view, datetime(2013, 8, 9, tzinfo=UTC)))
    assert_within_limits(resolved_message(view, why=text))


@settings(max_examples=20, deadline=None)
@given(gates, links, wild, st.booleans(), st.sampled_from(["auto", "approved", "rejected", "not required"]))
def test_wild_outcomes_keep_to_the_limits(
    gates: list[dict[str, Any]], links: dict[str, str], text: str, shipped: bool, approval: str
) -> None:
    names = dict.fromkeys(
        ("model", "run_key", "reason", "verdict", "version", "previous", "metric", "by", "as_of"), text
    )
    outcome = an_outcome(**names, gates=gates, links=links, shipped=shipped, approval=approval)
    assert_within_limits(retrain_message(outcome))


@settings(max_examples=20, deadline=None)
@given(wild, wild, wild)
def test_wild_failures_keep_to_the_limits(name: str, error: str, url: str) -> None:
    assert_within_limits(failure_message(name, name, name, name, error, url))
