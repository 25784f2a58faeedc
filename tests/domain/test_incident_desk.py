"""From verdicts to messages, with a real registry and a real queue: what is said, where, and that nothing is said twice."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from evermodel.alerts.incidents.handler import IncidentHandler
from evermodel.alerts.incidents.store import (
    Transition,
    asking_thread,
    incident_history,
    read_incidents,
    record,
)
from evermodel.alerts.queue import MessageQueue
from evermodel.alerts.queued_message import Destination
from evermodel.core.database.tables import incidents
from evermodel.monitoring.problems import Problem
from evermodel.registry.tags import INCIDENTS
from support.verdicts import a_column
from support.watched_model import CALM, CRITICAL, MONDAY, NIGHT, WARNING, WatchedModel


@pytest.fixture
def team(tmp_path: Path, mlflow_store: str) -> WatchedModel:
    return WatchedModel(tmp_path, mlflow_store)


def test_the_life_of_an_incident(team: WatchedModel) -> None:
    team.look(1, CALM)
    assert team.said() == []
    team.look(2, WARNING)
    assert team.said() == ["post open: [warning] m: drift (warning)"]
    team.look(3, WARNING)
    assert team.said() == ["replace update: [warning] m: drift (warning)"]
    assert (team.said(team.on_call), team.drawn) == ([], 1)
    team.look(4, CRITICAL)
    assert team.said() == [
        "replace escalate: [critical] m: drift (critical)",
        "post escalate in drift-1: [critical] m: drift became critical",
    ]
    assert team.said(team.on_call) == ["post escalate: [critical] m: drift (critical)"]
    team.look(7, WARNING)
    assert team.said() == [
        "replace remind: [warning] m: drift (warning now)",
        "post remind in drift-1: [warning] m: drift continues, day 6 (warning)",
    ]
    team.look(8, CALM)
    assert team.said() == [
        "replace resolve: [resolved] m: drift resolved",
        "post resolve in drift-1: [resolved] m: drift resolved",
    ]
    assert team.said(team.on_call) == ["replace remind: [resolved] m: drift resolved"]
    assert [words.split(": ")[0] for words in team.said(team.pager)] == [
        "post open", "post escalate", "post remind", "post resolve",
    ]  # fmt: skip


def test_who_is_mentioned(team: WatchedModel) -> None:
    def mentioned(lane: Destination) -> list[set[str]]:
        return [
            {name for name in ("<@U0OWNER>", "<!subteam^S0ONCALL>") if name in str(entry.message["blocks"])}
            for _, entry in team.queue.waiting(lane)
        ]

    team.look(1, WARNING)
    assert mentioned(team.lane) == [{"<@U0OWNER>"}]
    team.said()
    team.look(2, CRITICAL)
    assert mentioned(team.lane) == [{"<@U0OWNER>", "<!subteam^S0ONCALL>"}] * 2
    assert mentioned(team.on_call) == [{"<@U0OWNER>", "<!subteam^S0ONCALL>"}]


def test_a_problem_that_is_critical_at_once_reaches_the_second_channel(team: WatchedModel) -> None:
    team.look(1, CRITICAL)
    assert team.said(team.on_call) == ["post open: [critical] m: drift (critical)"]


def test_kinds_have_incidents_of_their_own_and_the_worst_is_named_first(team: WatchedModel) -> None:
    slow = Problem("serving", "critical", "p99 is 900 ms", details=("p99_ms 900 against 200",))
    done = team.look(1, WARNING, slow, Problem("performance", "none", "no labels", known=False))
    assert [(kind, d.action, d.severity) for kind, d in done.items()][:2] == [
        ("serving", "open", "critical"),
        ("drift", "open", "warning"),
    ]
    assert {d.incident.split("-")[0] for d in done.values() if d.incident} == {"serving", "drift"}
    done = team.look(2, WARNING, Problem("serving", "none", "fast again"))
    assert (done["serving"].action, done["drift"].action) == ("resolve", "update")


def test_the_result_of_a_retrain_goes_to_the_thread_of_the_worst_problem_that_may_request_one(
    team: WatchedModel,
) -> None:
    by_drift, spec = f"retrain/{team.name}/drift-2026-01-06", team.desk(0).spec
    assert asking_thread(spec, team.client, by_drift) == ""
    slow = Problem("serving", "critical", "p99 is 900 ms", details=("p99_ms 900 against 200",))
    weak = Problem("performance", "critical", "roc_auc fell", details=("roc_auc 0.6",))
    done = team.look(1, WARNING, slow, weak)
    wanted = f"{team.name}/{done['performance'].incident}"
    assert asking_thread(spec, team.client, by_drift) == wanted
    assert asking_thread(spec, team.client, f"retrain/{team.name}/scheduled__1") == ""
    over = Problem("performance", "none", "roc_auc is as before")
    team.look(2, WARNING, slow, over)
    assert asking_thread(spec, team.client, by_drift) == f"{team.name}/{done['drift'].incident}"
    team.look(3, CALM, slow, over)
    assert asking_thread(spec, team.client, by_drift) == f"{team.name}/{done['drift'].incident}"


def test_running_again_says_nothing_new(team: WatchedModel) -> None:
    for number, problem in enumerate([WARNING, CRITICAL, CALM]):
        first = team.look(number, problem)
        team.said()
        team.said(team.pager)
        team.said(team.on_call)
        assert team.look(number, problem) == first
        assert [words for words in team.said() if not words.startswith("replace")] == []
        assert team.said(team.pager) == []
        assert [words for words in team.said(team.on_call) if not words.startswith("replace")] == []


def test_an_old_day_run_again_does_not_touch_todays_incident(team: WatchedModel) -> None:
    team.look(2, WARNING)
    team.said()
    before = read_incidents(team.client, team.name)
    for problem in (CALM, CRITICAL):
        assert team.look(1, problem)["drift"].action == "quiet"
    assert (team.said(), read_incidents(team.client, team.name)) == ([], before)


def test_an_incident_and_its_messages_are_written_together_or_not_at_all(
    team: WatchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("evermodel.alerts.queue._put", die)
        with pytest.raises(KeyboardInterrupt):
            team.look(1, WARNING)
    assert (stored_text(team), team.said()) == (None, [])

    with monkeypatch.context() as patch:
        patch.setattr("evermodel.alerts.incidents.store.write_incidents", die)
        with pytest.raises(KeyboardInterrupt):
            team.look(1, WARNING)
    assert "drift-1" in str(stored_text(team))
    assert INCIDENTS not in team.client.get_registered_model(team.name).tags
    assert team.look(1, WARNING)["drift"].action == "open"
    assert team.said() == ["post open: [warning] m: drift (warning)"]
    assert read_incidents(team.client, team.name).of("drift").count == 1


def test_what_an_earlier_release_or_damage_leaves_goes_on_from_the_tag(team: WatchedModel) -> None:
    team.look(1, WARNING)
    of_the_first_day = stored_text(team)
    assert team.look(2, CALM)["drift"].action == "resolve"
    # A release without a database handled the second day.
    write_text(team, str(of_the_first_day))
    assert team.look(3, WARNING)["drift"].incident.startswith("drift-2")
    write_text(team, "{")
    assert team.look(4, WARNING)["drift"].action == "update"
    assert "drift-2" in str(stored_text(team))


def stored_text(team: WatchedModel) -> str | None:
    with team.queue.database.reading() as connection:
        text: str | None = connection.scalar(select(incidents.c.content))
        return text


def write_text(team: WatchedModel, text: str) -> None:
    with team.queue.database.writing() as connection:
        connection.execute(update(incidents).values(content=text))


def test_killed_before_anything_was_queued_it_is_said_all_the_same(
    team: WatchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.look(1, WARNING)
    team.said()

    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    for number, problem, expected in (
        (2, CRITICAL, "post escalate in drift-1: [critical] m: drift became critical"),
        (3, CALM, "post resolve in drift-1: [resolved] m: drift resolved"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(IncidentHandler, "_tell", die)
            with pytest.raises(KeyboardInterrupt):
                team.look(number, problem)
        assert team.said() == []
        team.look(number, problem)
        assert team.said()[1] == expected


def test_an_incident_whose_receipt_was_lost_is_still_answered_in_its_thread(team: WatchedModel) -> None:
    done = list(team.look(1, WARNING).values())
    team.said()
    desk = team.desk(1)
    assert desk.remember_deliveries(done)["drift"]["kind"] == "slack"
    team.queue = MessageQueue(f"sqlite:///{team.folder}/another.db", team.folder / "another lake")
    team.look(2, WARNING)
    assert team.said() == ["replace update: [warning] m: drift (warning)"]


def test_the_end_names_the_new_version_if_there_is_one(team: WatchedModel) -> None:
    team.look(1, WARNING, version="7")
    team.said()
    team.look(2, CALM, version="8")
    *_, (_, answer) = team.queue.waiting(team.lane)
    assert "Version 8 is the champion; the incident began with version 7." in answer.message["text"]


def test_at_night_warnings_wait_and_what_is_critical_does_not(team: WatchedModel) -> None:
    team.look(1, WARNING, now=NIGHT)
    assert team.said(now=NIGHT) == []
    team.look(2, CRITICAL, now=NIGHT)
    assert team.said(now=NIGHT) == [
        "post open: [critical] m: drift (critical)",
        "post escalate in drift-1: [critical] m: drift became critical",
    ]
    team.look(3, CALM, now=NIGHT)
    assert team.said(now=NIGHT) == ["replace resolve: [resolved] m: drift resolved"]
    assert team.said(now=NIGHT + timedelta(hours=9)) == [
        "post resolve in drift-1: [resolved] m: drift resolved"
    ]


def test_what_is_switched_off_says_nothing_and_ends_what_was_open(team: WatchedModel) -> None:
    bad = Problem("quality", "warning", "temp: 90% missing", details=("temp: 90% missing",))
    team.look(1, bad, WARNING)
    team.said()
    team.respond = {"quality": "off", "feature": "off"}
    done = team.look(2, bad, WARNING)
    assert (done["quality"].action, done["drift"].action) == ("close", "resolve")
    assert team.look(3, bad, WARNING)["quality"].action == "quiet"
    categories = (a_column(what="category"), a_column(column="temp"))
    assert team.look(4, WARNING, columns=categories)["drift"].action == "open"


def test_the_history_is_kept_by_day_and_never_rewritten(team: WatchedModel) -> None:
    for number, problem in enumerate([WARNING, WARNING, CRITICAL, CALM, WARNING]):
        team.look(number, problem)
        team.look(number, problem)
    team.look(1, CRITICAL)  # an old day
    said = [(t.incident.rsplit("-", 1)[0], t.action, t.severity, t.at[:10]) for t in
            incident_history(team.client, team.name)]  # fmt: skip
    assert said == [
        ("drift-1", "open", "warning", "2026-01-05"),
        ("drift-1", "escalate", "critical", "2026-01-07"),
        ("drift-1", "resolve", "critical", "2026-01-08"),
        ("drift-2", "open", "warning", "2026-01-09"),
    ]
    assert len(incident_history(team.client, team.name, MONDAY + timedelta(days=3))) == 2
    assert incident_history(team.client, "never_watched") == []


def test_skew_opens_an_incident_of_its_own_the_same_day_and_nothing_else(team: WatchedModel) -> None:
    line = "visits_1h: 50.0% of 60 rows differ, by -1 in the median, since 2024-03-02 06:01"
    others = [Problem(kind, "none", "fine") for kind in ("drift", "quality", "performance", "serving")]  # type: ignore[arg-type]
    done = team.look(1, *others, Problem("skew", "critical", line, details=(line,)))
    assert {kind: one.action for kind, one in done.items() if one.incident} == {"skew": "open"}
    assert "skew of served features" in "".join(team.said())


def test_tags_keep_to_mlflows_limits_whatever_the_texts(team: WatchedModel) -> None:
    endless = "💥" * 3000
    kinds = ("drift", "quality", "performance", "serving", "skew")
    problems = [Problem(kind, "critical", endless, endless, (endless,) * 9) for kind in kinds]  # type: ignore[arg-type]
    done = list(team.look(1, *problems).values())
    team.said()
    team.desk(1).remember_deliveries(done)
    assert len(team.client.get_registered_model(team.name).tags[INCIDENTS]) <= 5000
    assert {t.kind for t in incident_history(team.client, team.name)} == set(kinds)

    run = team.desk(9).incidents.run_id
    many = [Transition(f"drift-{n}", "drift", "open", "warning", "2026-01-01", "2026-01-01", "1", endless) for n in range(20)]  # fmt: skip
    record(team.client, run, many)
    assert len(team.client.get_run(run).data.tags[INCIDENTS]) <= 8000


def test_a_model_made_anew_under_its_old_name_repeats_no_names(team: WatchedModel) -> None:
    first = team.look(1, WARNING)["drift"].incident
    team.client.delete_registered_model(team.name)
    team.client.create_registered_model(team.name)
    assert team.look(1, WARNING)["drift"].incident != first
