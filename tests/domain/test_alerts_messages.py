"""What messages say, and that no data can push them over Slack's limits."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from evermodel.alerts.drift_message import drift_message
from evermodel.alerts.failure_message import failure_message
from evermodel.alerts.message import Message
from evermodel.alerts.preview import preview_html
from evermodel.alerts.resolved_message import resolved_message
from evermodel.alerts.retrain_message import retrain_message
from evermodel.drift.verdict import ColumnDrift, DriftVerdict, Performance
from evermodel.problems import Problem
from slack_limits import block_problems, blocks_width, units
from verdicts import a_column, a_problem, a_verdict, bad_data

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


def test_drift_message_tells_what_an_on_call_person_needs() -> None:
    message = drift_message(a_verdict(), LINKS, True, "2013-08-06")
    assert (message.severity, message.model) == ("critical", "flights")
    assert message.title == "\N{LARGE RED CIRCLE} flights: drift is critical"
    for needed in (
        "2013-08-01 until 2013-08-08",
        "2013-08-06",
        "`humid` *PSI 0.41* critical, normal is up to 0.08: median from 60 to 75",
        "(1 of 2)",
        "6,321 against 45,678",
        "roc_auc 0.712 (0.695 to 0.729), promised 0.751",
        "tested at a false-alarm rate of 1 %",
        "A retrain was requested",
        "<http://mlflow.example/report?a=1&amp;b=2|Evidently report>",
    ):
        assert needed in said(message)
    assert "temp" not in said(message)
    assert "humid: PSI 0.41" in message.text


@pytest.mark.parametrize(
    ("asked", "quality", "expected"),
    [
        (True, (), "A retrain was requested"),
        (False, (), "cool-down"),
        (False, ("`temp` is missing",), "the data itself has problems"),
        (None, (), "by the model's policy"),
        (None, ("`temp` is missing",), "the data itself has problems"),
    ],
)
def test_next_step(asked: bool | None, quality: tuple[str, ...], expected: str) -> None:
    message = drift_message(a_verdict(problems=(a_problem(), bad_data(*quality))), {}, asked, "2013-08-06")
    assert expected in said(message)
    assert expected in message.text


def test_note_replaces_the_next_step() -> None:
    message = drift_message(a_verdict(), {}, False, "2013-08-06", retrain_note="Cool-down until 2013-08-12.")
    assert "*Next:* Cool-down until 2013-08-12." in said(message)


def test_bad_data_without_drift_is_called_bad_data() -> None:
    verdict = a_verdict(severity="none", columns=(), problems=(bad_data("column temp is missing"),))
    message = drift_message(verdict, {}, False, "2013-08-06")
    assert "bad data" in message.title
    assert message.severity == "warning"
    assert "column temp is missing" in said(message)


def test_unknown_performance_is_said() -> None:
    message = drift_message(a_verdict(performance={"value": None}), {}, None, "2013-08-06")
    assert "labels have not matured" in said(message)


def test_key_depends_on_window_and_severity_only() -> None:
    first = drift_message(a_verdict(), LINKS, True, "2013-08-06")
    again = drift_message(a_verdict(reason="other words"), {}, None, "2013-08-06")
    worse = drift_message(a_verdict(severity="warning"), LINKS, True, "2013-08-06")
    later = drift_message(a_verdict(end="2013-08-09T00:00:00+00:00"), LINKS, True, "2013-08-06")
    assert first.key == again.key
    assert len({first.key, worse.key, later.key}) == 3


def test_resolved_message() -> None:
    verdict = a_verdict(
        severity="none", reason="No column drifted.", columns=(a_column(severity="none", effect=0.02),)
    )
    message = resolved_message(verdict, LINKS, "2013-08-06", why="Version 8 was retrained.")
    assert message.severity == "resolved"
    for needed in ("drift is over", "Version 8 was retrained.", "2013-08-06", "0.02 in `humid`"):
        assert needed in said(message)


def test_new_champion() -> None:
    message = retrain_message(an_outcome())
    assert "new champion, version 8" in message.title
    for needed in (
        "Version 8 serves now instead of version 7.",
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
    assert "Version 7 keeps serving: margin said no." in said(message)
    assert "`margin` said no, -0.02 against -0.01: reaches -0.02" in said(message)


@pytest.mark.parametrize(("by", "expected"), [("jane", "rejected by jane"), ("", "nobody answered in time")])
def test_rejected_by_a_person(by: str, expected: str) -> None:
    message = retrain_message(an_outcome(shipped=False, approval="rejected", by=by))
    assert "rejected" in message.title
    assert expected in said(message)
    assert "Version 7 keeps serving" in said(message)


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
    message = drift_message(a_verdict(reason=evil, columns=(a_column(column=evil),)), {}, None, "2013-08-06")
    texts = re.findall(r'"text": "([^"]*)"', said(message))
    assert not any("<!channel>" in text or "<http://evil" in text for text in texts)
    assert any("&lt;!channel&gt; *\u200bbold*\u200b" in text for text in texts)
    assert "<!channel>" not in message.fallback


def test_preview_shows_data_as_text() -> None:
    evil = "<script>alert(1)</script> \" onerror='x'"
    verdict = a_verdict(reason=evil, columns=(a_column(column=evil, summary=evil),), model=evil)
    page = preview_html(
        drift_message(verdict, {evil: "http://x.example/\"'<>" + evil}, None, evil), None, evil
    )
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
kinds = st.sampled_from(["drift", "quality", "performance", "serving"])
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
        assert not re.search(r"&(?!amp;|lt;|gt;)|<(?!https?://[^|<> ]+\|[^<>|]*>)", text)
    json.dumps(message.to_json()).encode()
    preview_html(message, None, None)


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
    message = drift_message(verdict, many, None, long, retrain_note=long)
    assert_within_limits(message)
    assert "|0" in message.blocks[-2]["text"]["text"], "the links must survive"


@settings(max_examples=40, deadline=None)
@given(verdicts, links, st.sampled_from([True, False, None]), wild)
def test_wild_drift_keeps_to_the_limits(
    verdict: DriftVerdict, links: dict[str, str], asked: bool | None, note: str
) -> None:
    assert_within_limits(drift_message(verdict, links, asked, note, retrain_note=note))
    assert_within_limits(resolved_message(verdict, links, note, why=note))


@settings(max_examples=40, deadline=None)
@given(gates, links, wild, st.booleans(), st.sampled_from(["auto", "approved", "rejected", "not asked"]))
def test_wild_outcomes_keep_to_the_limits(
    gates: list[dict[str, Any]], links: dict[str, str], text: str, shipped: bool, approval: str
) -> None:
    names = dict.fromkeys(
        ("model", "run_key", "reason", "verdict", "version", "previous", "metric", "by", "as_of"), text
    )
    outcome = an_outcome(**names, gates=gates, links=links, shipped=shipped, approval=approval)
    assert_within_limits(retrain_message(outcome))


@settings(max_examples=40, deadline=None)
@given(wild, wild, wild)
def test_wild_failures_keep_to_the_limits(name: str, error: str, url: str) -> None:
    assert_within_limits(failure_message(name, name, name, name, error, url))
