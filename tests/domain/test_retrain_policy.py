from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evermodel.monitoring.problems import Problem
from evermodel.monitoring.retrain_history import (
    Request,
    former_windows,
    keep_request,
    requests,
    severities_of,
    tags_of,
)
from evermodel.monitoring.retrain_policy import (
    Past,
    RetrainRecommendation,
    current_recommendation,
    recommend_retrain,
    record_request,
)
from evermodel.registry.tracking import connect, keyed_run
from support.small_spec import small_spec
from support.verdicts import a_column, a_problem, a_verdict, bad_data

NOW = datetime(2026, 3, 9, tzinfo=UTC)


def _ago(days: float) -> str:
    return (NOW - timedelta(days=days)).isoformat()


def _asked(*days: float) -> tuple[Request, ...]:
    return tuple(Request(f"key-{n}", _ago(n), "drift") for n in days)


def _verdict(severity: Any = "critical", what: Any = "feature", **changes: Any) -> Any:
    column = a_column(column="age", what=what, severity=severity)
    problem = a_problem(severity=severity, reason="1 of 3 columns drift: age")
    return a_verdict(start=_ago(7), columns=(column,), **{"problems": (problem,), **changes})


def _wish(
    verdict: Any = None, *, respond: Any = None, past: Past | None = None, **retrain: Any
) -> RetrainRecommendation:
    spec = small_spec(retrain={"cooldown": "7d", **retrain}, respond=respond or {})
    return recommend_retrain(spec, verdict or _verdict(), NOW, past or Past())


@pytest.mark.parametrize(
    ("when", "severity", "wanted"),
    [
        ("never", "critical", None),
        ("critical", "critical", True),
        ("critical", "warning", None),
        ("critical", "none", None),
        ("warning", "critical", True),
        ("warning", "warning", True),
        ("warning", "none", None),
    ],
)
def test_the_severity_that_the_policy_names_asks(when: str, severity: str, wanted: bool | None) -> None:
    assert _wish(_verdict(severity), when=when).wanted is wanted


def test_a_wish_says_since_when_and_why() -> None:
    assert _wish().note == "drift since 2026-03-02: 1 of 3 columns drift: age"


def test_a_reason_of_hundreds_of_columns_is_cut_short() -> None:
    many = a_problem(reason="300 of 300 columns drift: " + ", ".join(f"column{n}" for n in range(300)))
    note = _wish(_verdict(problems=(many,))).note
    assert len(note) < 500
    assert note.startswith("drift since 2026-03-02: 300 of 300 columns drift: column0, ")


@pytest.mark.parametrize("what", ["feature", "prediction", "concept"])
def test_each_kind_asks_only_where_the_spec_answers_it_with_auto(what: str) -> None:
    assert _wish(_verdict(what=what)).wanted is True
    for response in ("alert", "off"):
        wish = _wish(_verdict(what=what), respond={what: response})
        assert wish.wanted is None
        assert f"{what} is {response}" in wish.note


def test_by_default_missing_values_new_categories_and_correlations_only_alert() -> None:
    assert [_wish(_verdict(what=what)).wanted for what in ("missing", "category", "correlation")] == [
        None
    ] * 3
    assert _wish(_verdict(what="category"), respond={"category": "auto"}).wanted is True


def test_decay_asks_without_drift_and_gives_its_own_reason() -> None:
    decay = Problem("performance", "critical", "roc_auc 0.61 against 0.75 promised")
    verdict = _verdict("none", problems=(a_problem(severity="none"), decay))

    assert _wish(verdict).note == "performance since 2026-03-02: roc_auc 0.61 against 0.75 promised"
    assert _wish(verdict, respond={"performance": "alert"}).wanted is None


def test_slow_serving_never_asks() -> None:
    slow = Problem("serving", "critical", "p99 900 ms")
    assert _wish(_verdict("none", problems=(slow,))).wanted is None


@pytest.mark.parametrize(("cluster", "wanted"), [("day", None), ("row", True)])
def test_drift_that_a_rule_judged_asks_only_where_rows_are_the_draws(
    cluster: str, wanted: bool | None
) -> None:
    column = a_column(column="age", severity="warning", basis="a rule: what stretches of the reference show")
    spec = small_spec(retrain={"when": "warning"}, cluster=cluster)

    wish = recommend_retrain(spec, a_verdict(start=_ago(7), columns=(column,)), NOW, Past())

    assert wish.wanted is wanted
    assert ("judged by a rule until quiet windows" in wish.note) == (wanted is None)


def test_what_could_not_be_judged_does_not_ask() -> None:
    few = a_problem(severity="critical", known=False)
    assert _wish(_verdict(problems=(few,))).wanted is None


def test_bad_data_vetoes_and_is_named() -> None:
    wish = _wish(_verdict(problems=(a_problem(), bad_data("age: 90% missing, at most 50% allowed"))))

    assert wish == RetrainRecommendation(
        False, "no retrain: the data has quality problems (age: 90% missing, at most 50% allowed)"
    )


def test_bad_data_without_details_vetoes_too() -> None:
    wish = _wish(_verdict(problems=(a_problem(), Problem("quality", "warning", "columns are missing"))))
    assert (wish.wanted, "columns are missing" in wish.note) == (False, True)


BAD, CALM = {"feature": "critical"}, {"feature": "none"}


@pytest.mark.parametrize(
    ("former", "wanted", "said"),
    [
        ([], False, "no retrain: 1 of the last window was that severe, the policy requires 2 of 3"),
        (
            [CALM, CALM, BAD],
            False,
            "no retrain: 1 of the last 3 windows was that severe, the policy requires 2",
        ),
        ([CALM, BAD], True, "2 of the last 3 windows were that severe, the policy requires 2"),
        ([BAD], True, "2 of the last 2 windows were that severe, the policy requires 2 of 3"),
        ([{"category": "critical"}, CALM], False, "1 of the last 3 windows"),
    ],
)
def test_so_many_of_so_many_windows_must_agree(former: Any, wanted: bool, said: str) -> None:
    wish = _wish(past=Past(windows=former), windows={"count": 2, "of": 3})

    assert wish.wanted is wanted
    assert said in wish.note


@pytest.mark.parametrize(("days", "wanted"), [(1, False), (6.99, False), (7, True), (30, True)])
def test_the_cool_down_runs_from_the_last_request_and_the_last_training(days: float, wanted: bool) -> None:
    assert _wish(past=Past(requests=_asked(days))).wanted is wanted
    assert _wish(past=Past(champion_as_of=_ago(days))).wanted is wanted


def test_the_refusal_names_what_was_too_recent_and_the_cool_down() -> None:
    assert _wish(past=Past(requests=_asked(40, 2), champion_as_of=_ago(30))).note == (
        "no retrain: the last request was 2 days ago, the cool-down is 1w"
    )
    assert "last training of the champion was 1 day ago" in _wish(past=Past(champion_as_of=_ago(1))).note


def test_the_same_moment_again_is_the_same_request() -> None:
    assert _wish(past=Past(requests=_asked(0)), budget=1).wanted is True
    assert _wish(past=Past(requests=_asked(0), champion_as_of=_ago(0))).wanted is False


def test_an_old_day_judged_again_does_not_ask_over_the_head_of_a_later_one() -> None:
    assert "after this window" in _wish(past=Past(requests=_asked(-5))).note
    assert _wish(past=Past(champion_as_of=_ago(-5))).wanted is False


@pytest.mark.parametrize(("asked", "wanted"), [((29, 8), False), ((30, 8), True), ((8,), True)])
def test_the_budget_counts_the_requests_of_thirty_days(asked: Any, wanted: bool) -> None:
    wish = _wish(past=Past(requests=_asked(*asked)), budget=2)

    assert wish.wanted is wanted
    assert wanted or wish.note == "no retrain: 2 were requested within 30 days, the budget is 2"


def test_severities_are_the_worst_of_each_kind() -> None:
    verdict = a_verdict(
        columns=(a_column(severity="warning"), a_column(severity="critical"), a_column(what="prediction", severity="none")),
        problems=(a_problem(), bad_data("x"), Problem("performance", "none", "no labels", known=False)),
    )  # fmt: skip
    assert severities_of(verdict) == {"feature": "critical", "prediction": "none", "quality": "warning"}


@pytest.fixture
def registered(mlflow_store: str) -> Any:
    """A client and a spec whose champion was trained long ago."""
    client = connect(mlflow_store)
    name = f"policy_{uuid.uuid4().hex[:8]}"
    windows = {"count": 2, "of": 3}
    spec = small_spec(name=name, retrain={"when": "critical", "cooldown": "7d", "windows": windows})
    client.create_registered_model(spec.name)
    run = client.create_run("0")
    client.create_model_version(
        spec.name, f"{run.info.artifact_uri}/model", run.info.run_id, tags={"evermodel.as_of": _ago(60)}
    )
    return client, spec


def _judged(client: Any, spec: Any, days_ago: int, verdict: Any) -> None:
    key = f"drift/{spec.name}/{NOW - timedelta(days=days_ago):%Y-%m-%d}"
    keyed_run(client, f"{spec.name}-monitoring", key, kind="drift", name=key, tags=tags_of(verdict))


def test_the_policy_reads_the_windows_and_requests_that_mlflow_keeps(registered: Any) -> None:
    client, spec = registered
    bad = _verdict(version="1")
    assert current_recommendation(spec, bad, NOW, client).wanted is False

    _judged(client, spec, -1, bad)  # a later day
    _judged(client, spec, 0, bad)  # this very day, of a former try
    _judged(client, spec, 1, _verdict(version="2"))  # about another version
    assert former_windows(client, spec, "1", NOW, 2) == []
    assert current_recommendation(spec, bad, NOW, client).wanted is False

    _judged(client, spec, 3, _verdict("none", version="1"))
    _judged(client, spec, 4, bad)
    _judged(client, spec, 5, bad)
    assert former_windows(client, spec, "1", NOW, 2) == [CALM, BAD]
    assert current_recommendation(spec, bad, NOW, client).wanted is True

    first, again = (record_request(spec, NOW, "drift", client) for _ in range(2))

    assert first == again
    assert first == {
        "run_key": f"retrain/{spec.name}/drift-2026-03-09",
        "as_of": NOW.isoformat(),
        "reason": "drift",
    }
    assert len(requests(client.get_registered_model(spec.name).tags)) == 1
    assert current_recommendation(spec, bad, NOW, client).wanted is True
    assert "cool-down" in current_recommendation(spec, bad, NOW + timedelta(days=1), client).note


def test_requests_are_kept_up_to_a_limit(registered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, spec = registered
    monkeypatch.setattr("evermodel.monitoring.retrain_history._KEPT", 2)
    for request in _asked(20, 10, 0):
        keep_request(client, spec.name, request)

    kept = requests(client.get_registered_model(spec.name).tags)
    assert [request.run_key for request in kept] == ["key-10", "key-0"]
