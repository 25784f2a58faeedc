"""The weekly digest: what it says of a week, and what it reads from the registry."""

from __future__ import annotations

import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evermodel.alerts.digest import Digest
from evermodel.alerts.digest_message import DigestRetrain, ModelWeek, TeamWeek, digest_message
from evermodel.alerts.incidents.state import Incident
from evermodel.alerts.incidents.store import Transition
from evermodel.alerts.message import Message
from evermodel.alerts.publisher import notifier_destinations, slack_destination
from evermodel.alerts.queue import MessageQueue
from evermodel.alerts.teams import Team, teams
from evermodel.monitoring.drift.verdict import Performance
from evermodel.monitoring.retrain_history import Request
from evermodel.monitoring.verdict_history import VerdictHistory
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tracking import connect, keyed_run, log_json
from evermodel.spec.window import parse_moment
from support.registry_shelf import promoted
from support.slack_limits import block_problems, blocks_width, units
from support.small_spec import small_spec
from support.verdicts import a_verdict
from support.watched_model import CALM, CRITICAL, WARNING, WatchedModel

START, END = "2026-01-05T00:00:00+00:00", "2026-01-12T00:00:00+00:00"
GOOD = Performance("roc_auc", 900, 0.7481, 0.73, 0.77, 0.7512)


def a_week(name: str, **changes: Any) -> ModelWeek:
    return ModelWeek(
        **{"model": name, "version": "7", "promoted": "2025-12-31T00:00:00+00:00", "windows": 7, "performance": GOOD, **changes}
    )  # fmt: skip


def told(*models: ModelWeek) -> Message:
    message = digest_message(TeamWeek("data", START, END, models), {"Airflow": "http://airflow.example"})
    assert block_problems(message.blocks) == []
    assert blocks_width(message.blocks) <= 10_000
    assert units(message.fallback) <= 4000
    return message


def test_a_quiet_week_is_one_line() -> None:
    message = told(a_week("churn"), a_week("flights", retrains=(DigestRetrain(END, "kept the champion"),)))
    assert message.text.splitlines()[:3] == [
        "[info] data: the week of 2 models",
        "2026-01-05 until 2026-01-12: a quiet week.",
        "Quiet: churn version 7, 12 days old, roc_auc 0.748 (0.730 to 0.770), baseline 0.751; "
        "flights version 7, 12 days old, roc_auc 0.748 (0.730 to 0.770), baseline 0.751",
    ]
    assert len(message.blocks) <= 6


def test_a_week_with_news_tells_them_by_model() -> None:
    opened = Transition(
        "drift-3-x", "drift", "open", "warning", "2026-01-07", "2026-01-07", "7", "", "only humid moved"
    )
    ended = Transition("drift-3-x", "drift", "resolve", "critical", "2026-01-09", "2026-01-07", "7")
    going_on = Incident(
        "performance-1-x", "2026-01-08", "critical", "warning", "2026-01-08", "the inputs drifted too"
    )
    also = Transition("performance-1-x", "performance", "open", "critical", "2026-01-08", "2026-01-08", "7")
    retrain = DigestRetrain("2026-01-09", "deployed", "8", "drift since 2026-01-07")
    message = told(
        a_week("churn", happened=(opened, also, ended), open=(going_on,), retrains=(retrain,)), a_week("calm")
    )
    assert message.text.splitlines()[1:] == [
        "2026-01-05 until 2026-01-12: 2 incidents opened, 1 ended, 1 open now; 1 new champion.",
        "churn: version 7, 12 days old, roc_auc 0.748 (0.730 to 0.770), baseline 0.751",
        "  - open since 2026-01-08: performance below baseline (warning): the inputs drifted too",
        "  - 2026-01-07: drift opened (warning): only humid moved",
        "  - 2026-01-09: drift resolved (critical)",
        "  - 2026-01-09: retrain deployed, version 8 (drift since 2026-01-07)",
        "Quiet: calm version 7, 12 days old, roc_auc 0.748 (0.730 to 0.770), baseline 0.751",
    ]  # fmt: skip


def test_the_digest_says_how_many_of_the_year_s_incidents_may_have_been_false() -> None:
    message = told(
        a_week("churn", opened=9, false_expected=3.6), a_week("flights", opened=1, false_expected=0.4)
    )
    assert message.text.splitlines()[2] == (
        "Twelve months: 10 incidents of drift and performance; the stated false-alarm rates lead to at most 4.0 false "
        "ones (40%)."
    )
    assert "Twelve months" not in told(a_week("churn", false_expected=3.6)).text


def test_a_model_that_nobody_watched_or_that_has_no_champion_is_not_quiet() -> None:
    message = told(a_week("churn", windows=0, performance=None), ModelWeek("new"))
    assert "no day monitored: check its drift DAG" in message.text
    assert "performance not yet known" in message.text
    assert "new: no champion yet" in message.text
    assert "Quiet" not in message.text


@pytest.mark.parametrize("endless", ["&" * 900, "😀" * 900, "x " * 900])
def test_the_digest_of_many_models_with_endless_names_keeps_to_the_limits(endless: str) -> None:
    bad = Transition(endless, "drift", "open", "critical", endless, endless, endless, endless, endless)
    loud = a_week(
        endless,
        version=endless,
        happened=(bad,) * 9,
        retrains=(DigestRetrain(END, endless, endless, endless),) * 9,
    )
    told(*[loud] * 22, *[a_week(endless)] * 25)  # fmt: skip


def test_teams_are_owners_with_channels_and_a_name_that_airflow_allows() -> None:
    specs = [
        small_spec(name="b", owner="Data & AI"),
        small_spec(name="a", owner="Data & AI", alerts={"channel": "#other", "digest": "0 8 * * 2"}),
        small_spec(name="c", owner="data", alerts={"digest": None}),
        small_spec(name="d", owner="Data / AI"),
    ]
    first, second = teams(specs)
    assert [(team.owner, [spec.name for spec in team.specs]) for team in (first, second)] == [
        ("Data & AI", ["a", "b"]),
        ("Data / AI", ["d"]),
    ]
    assert (first.cron, first.dissenters) == ("0 8 * * 2", ("b",))
    assert list(first.channels) == [("slack_api_default", "#other"), ("slack_api_default", "#ml-alerts")]
    assert first.name != second.name
    assert first.name.startswith("Data_AI_")
    assert Team("data-science", ()).name == "data-science"


def test_the_week_of_a_watched_model_is_read_from_its_verdicts(database: str) -> None:
    watch = {"prediction": "score", "reference": {"start": "2025-10-01", "end": "2025-11-01"}}
    spec = small_spec(name="foreign", candidates=[], watch=watch)
    history = VerdictHistory(database, "foreign")
    for day in (4, 6, 12):
        history.write(a_verdict(model="foreign", version="7", end=f"2026-01-{day:02}T00:00:00+00:00"))
    at = "2026-01-06T00:00:00+00:00"
    opened = Transition("drift-1", "drift", "open", "critical", at, at, "7", cause="a new form")
    history.add(parse_moment(at), transitions=[asdict(opened)], request=asdict(Request("key", at, "drift")))
    (team,) = teams([spec])
    digest = Digest(team, None, parse_moment(END), {}, database)  # type: ignore[arg-type]

    (week,) = digest.read([spec]).models

    assert (week.version, week.promoted, week.windows) == ("7", "2026-01-04T00:00:00+00:00", 2)
    assert (week.happened, [one.cause for one in week.open]) == ((opened,), ["a new form"])
    assert [(one.outcome, one.reason) for one in week.retrains] == [("requested", "drift")]
    assert "version 7, 8 days old, roc_auc 0.712 (0.695 to 0.729), baseline 0.751" in told(week).text
    (unseen,) = replace(digest, database=f"{database}-new").read([spec]).models
    assert "foreign: no window evaluated yet" in told(unseen).text


def test_the_week_is_read_from_the_registry(tmp_path: Path, mlflow_store: str) -> None:
    team = WatchedModel(tmp_path, mlflow_store)
    client = connect(mlflow_store)
    trained = keyed_run(client, team.name, "k", kind="candidate", name="k").info
    client.create_model_version(team.name, f"{trained.artifact_uri}/model", trained.run_id)
    promoted(
        ModelRegistry(client),
        team.name, "1", expected=None, by="t", reason="t", run_key="k", at=datetime(2025, 12, 31, tzinfo=UTC))  # fmt: skip
    for number, problem in enumerate([WARNING, CALM, CALM, CRITICAL]):
        team.look(number - 1, problem)  # the first day lies before the week
    for number in range(-1, 3):
        day = datetime(2026, 1, 5, tzinfo=UTC) + timedelta(days=number)
        key = f"drift/{team.name}/{day:%Y-%m-%d}"
        run = keyed_run(client, f"{team.name}-monitoring", key, kind="drift", name=key)
        verdict = a_verdict(model=team.name, performance={"value": 0.7 + number / 100})
        log_json(client, run.info.run_id, verdict.to_json(), "verdict.json")
    for as_of, outcome in (("2026-01-06", "deployed"), ("2025-12-30", "deployed")):
        tags = {
            "evermodel.as_of": f"{as_of}T00:00:00+00:00",
            "evermodel.outcome": outcome,
            "evermodel.version": "1",
        }
        keyed_run(client, team.name, as_of, kind="retrain", name=as_of, tags=tags)
    spec = small_spec(name=team.name, owner="data", alerts={"notifiers": [{"notifier": "pager.Notifier"}]})
    other = small_spec(
        name=f"m_{uuid.uuid4().hex[:8]}", owner="data", alerts={"notifiers": [{"notifier": "pager.Notifier"}]}
    )
    digest = Digest(Team("data", (spec, other)), client, datetime(2026, 1, 11, 12, tzinfo=UTC), {})  # fmt: skip

    week = digest.week_of(spec)

    assert (week.version, week.promoted[:10], week.windows) == ("1", "2025-12-31", 3)
    assert [(t.action, t.at[:10]) for t in week.happened] == [
        ("resolve", "2026-01-05"),
        ("open", "2026-01-07"),
    ]
    assert [(incident.opened[:10], incident.current) for incident in week.open] == [
        ("2026-01-07", "critical")
    ]
    assert [(retrain.as_of[:10], retrain.outcome) for retrain in week.retrains] == [
        ("2026-01-06", "deployed")
    ]
    assert week.performance is not None
    assert week.performance.value == pytest.approx(0.72)
    assert digest.week_of(other).version is None

    queue = MessageQueue(f"sqlite:///{tmp_path}/digests.db", tmp_path / "digests")
    for _ in range(2):
        ((sender, message),) = digest.queue(queue, datetime(2026, 1, 12, 7, tzinfo=UTC))
    assert [entry.key for _, entry in queue.waiting(slack_destination(sender.alerts))] == [message.identity]
    pagers = [lane for each in (spec, other) for lane in notifier_destinations(each)]
    assert [len(list(queue.waiting(lane))) for lane in pagers] == [1, 0], "one pager of a team is told once"
