"""The audit log: every path writes its line first, and whoever changes, drops or moves a line is found."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.cli.diagnostics.tracking import check_tracking
from evermodel.core.environment import os_user
from evermodel.core.errors import PromotionError
from evermodel.deployment.automatic_rollback import watch_serving
from evermodel.deployment.promotion import promote_version
from evermodel.deployment.rollback import roll_back
from evermodel.pipelines.status import lines_of, status_of
from evermodel.registry.approval import Approval, record_answer
from evermodel.registry.audit import audit, read_audit_log, verify
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import CHAMPION
from evermodel.registry.serving_heartbeats import ServingReport, VersionCounts
from evermodel.registry.tags import AUDIT, KIND, PROMOTION
from evermodel.registry.tracking import connect
from support.flights import World
from support.killed_steps import FORK, changes_any, kill_at
from support.registry_shelf import Shelf, promoted
from support.rollouts import RolloutWorld
from support.serving_reports import reports_in
from support.small_spec import small_spec

PAIR = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)(?: |$)')


def lines(client: Any, model: str) -> list[dict[str, Any]]:
    return list(read_audit_log(client, model).entries())


def events(client: Any, model: str) -> list[str]:
    return [line["event"] for line in lines(client, model)]


def problems(client: Any, model: str) -> list[str]:
    return verify(client, ModelRegistry(client).read(model))[1]


@pytest.fixture
def shelf(mlflow_store: str) -> Shelf:
    """Versions 1 and 2 were promoted; version 3 is registered."""
    shelf = Shelf(mlflow_store)
    for version, before in (("1", None), ("2", "1")):
        shelf.register(f"key {version}")
        shelf.promote(version, before, f"key {version}")
    shelf.register("key 3")
    return shelf


# Every path writes its line.


def test_promotion_approval_rejection_override_traffic_and_rollback(world: World) -> None:
    made = RolloutWorld(world, {"strategy": "canary"})
    client, model = world.client, made.name
    made.serve("r/1")
    _, second = made.judged("r/2", "1")
    made.steps.start(second, by="ada", reason="try it", run_key="k")
    made.steps.stop(by="ada", reason="freeze")
    _, third = made.judged("r/3", "1", ship=False)
    with pytest.raises(PromotionError):
        promote_version(client, model, third, by="ada", reason="no", run_key="refused")
    promote_version(client, model, third, by="ada", reason="a must", run_key="forced", force=True)
    roll_back(client, model, by="bob", reason="worse", run_key="back")

    told = [(line["event"], line["facts"].get("by")) for line in lines(client, model)]
    assert told == [
        ("approval", "test"),
        ("promotion", "test"),
        ("traffic", "ada"),
        ("traffic", "ada"),
        ("override", "ada"),
        ("approval", "ada"),
        ("promotion", "ada"),
        ("rollback", "bob"),
    ]
    assert "the decision on version 3 is not to promote" in lines(client, model)[4]["facts"]["against"]
    assert {line["os_user"] for line in lines(client, model)} == {os_user()}
    assert problems(client, model) == []


def test_a_rejection_is_a_line(world: World) -> None:
    made = RolloutWorld(world, {})
    retrain, version = made.judged("r/1", None)
    record_answer(world.client, made.name, Approval(False, "ada", version, retrain.decision().digest))
    assert [(e["event"], e["facts"]["by"]) for e in lines(world.client, made.name)] == [("rejection", "ada")]


def test_an_approval_that_nobody_gave_is_no_line(world: World) -> None:
    retrain, version = RolloutWorld(world, {}).judged("r/1", None)
    retrain.deploy(version, "auto")
    found = world.client.get_model_version(retrain.spec.name, version)
    assert Approval.from_version(found) == Approval(True, "auto", version, retrain.decision().digest)
    assert [(e["event"], e["facts"]["by"]) for e in lines(world.client, retrain.spec.name)] == [
        ("promotion", "auto")
    ]
    record_answer(world.client, retrain.spec.name, Approval(True, "auto", version, at="2026-01-05T09:00:00"))
    assert events(world.client, retrain.spec.name) == ["promotion", "approval"], "a person of that name"


def test_an_automatic_rollback_is_a_line_by_evermodel(mlflow_store: str, tmp_path: Path) -> None:
    shelf, now = Shelf(mlflow_store), datetime.now(UTC)
    for version, before in (("1", None), ("2", "1")):
        shelf.register(f"key {version}")
        registry = ModelRegistry(shelf.client)
        promoted(registry, shelf.name, version, expected=before, by="a", reason="r", run_key=version, at=now)
    counts = {"2": VersionCounts(1000, 500, {"0.05": 1000, "+Inf": 1000})}
    later = (now + timedelta(minutes=1)).isoformat()
    report = ServingReport(shelf.name, "h-1", "test", "h", 1, later, later, "2", counts=counts)
    reports_in(tmp_path).write(report)
    spec = small_spec(name=shelf.name, rollback={"error_rate": 0.01})
    assert watch_serving(spec, shelf.client, reports_in(tmp_path), now + timedelta(hours=1)) is not None
    last = lines(shelf.client, shelf.name)[-1]
    assert (last["event"], last["facts"]["by"], last["facts"]["version"]) == ("rollback", "evermodel", "1")
    assert "500 of 1,000 requests failed" in last["facts"]["reason"]


def test_an_approval_given_again_by_an_interrupted_step_is_one_line_and_one_after_a_rejection_another(
    shelf: Shelf,
) -> None:
    def answer(approved: bool, hour: int) -> None:
        at = f"2026-03-02T{hour:02}:00:00+00:00"
        record_answer(shelf.client, shelf.name, Approval(approved, "ada", "3", "d" * 64, at, "go"))

    before = events(shelf.client, shelf.name)
    answer(True, 1)
    answer(True, 2)
    answer(False, 3)
    answer(True, 4)
    assert events(shelf.client, shelf.name)[len(before) :] == ["approval", "rejection", "approval"]


def test_a_waived_approval_is_a_line_with_the_approver(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow")
    from evermodel_provider.operators.request import RetrainRequestOperator

    world.change(approval="manual", approvers=["ada"])
    task = RetrainRequestOperator(task_id="request", model=world.name)
    monkeypatch.setattr(
        type(task), "hook", SimpleNamespace(get_conn=lambda: world.client, settings=world.settings)
    )
    monkeypatch.setattr(type(task), "spec", world.spec)
    run = SimpleNamespace(triggering_user_name="ada", run_id="manual__1")
    params = {"approval": "auto", "as_of": "2013-03-11", "reason": "hotfix"}
    context: Any = {"params": params, "dag_run": run, "triggering_asset_events": {}}
    assert task.run_step(context)["approval"] == "auto"
    (line,) = lines(world.client, world.name)  # before there is any version
    assert (line["event"], line["facts"]) == ("waiver", {"by": "ada", "airflow_run": "manual__1"})


def test_a_transfer_is_a_line_of_the_target(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evermodel.pipelines.transfer import transfer

    address = f"sqlite:///{tmp_path / 'prod.db'}"
    monkeypatch.setenv("MLFLOW_ARTIFACT_ROOT", str(tmp_path / "artifacts"))
    monkeypatch.setenv("EVERMODEL_ENVIRONMENT", "staging")
    monkeypatch.setenv("EVERMODEL_MLFLOW_STAGING", world.settings.tracking_uri)
    monkeypatch.setenv("EVERMODEL_MLFLOW_PROD", address)
    monkeypatch.chdir(tmp_path)
    version = world.champion("2013-03-11")
    prod = world.settings.model_copy(update={"tracking_uri": address, "environment": "prod"})
    for _ in range(2):
        done = transfer(
            world.spec, version, source="staging", target="prod", by="ann", reason="go", settings=prod
        )
    assert done.deployed
    told = [(e["event"], e["facts"]["by"]) for e in lines(connect(address), world.name)]
    assert told == [("transfer", "ann"), ("promotion", "ann")]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_the_logger_s_line_can_be_read_back_whatever_people_write(reason: str) -> None:
    from evermodel.registry.audit import _written

    text = f"event=promotion reason={_written(reason)}"
    assert len(text.splitlines()) == 1
    found = {key: json.loads(value) if value.startswith('"') else value for key, value in PAIR.findall(text)}
    assert found == {"event": "promotion", "reason": reason}


def test_the_logger_gets_the_line_with_its_sha256(
    mlflow_store: str, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf(mlflow_store)
    caplog.set_level(logging.INFO, "evermodel.audit")
    audit(shelf.client, "rollback", shelf.name, previous=None, reason="a b")
    (line,) = lines(shelf.client, shelf.name)
    said = f'event=rollback model={shelf.name} reason="a b" line=1 sha256={line["sha256"]}'
    assert caplog.messages == [said]


def test_facts_longer_than_mlflow_takes_are_cut_and_hold(mlflow_store: str) -> None:
    shelf = Shelf(mlflow_store)
    audit(shelf.client, "traffic", shelf.name, reason="é\n" * 20_000, by="ada")
    (line,) = lines(shelf.client, shelf.name)
    assert line["facts"]["reason"].startswith("é\n" * 100)
    assert line["facts"]["by"] == "ada"
    assert problems(shelf.client, shelf.name) == []


def test_no_environment_variable_changes_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os_user()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert os_user() == before != "somebody-else"


# Tampering, in MLflow's own database: its API changes no parameter.


def database(shelf: Shelf, statement: str, *values: str) -> None:
    run = read_audit_log(shelf.client, shelf.name).run
    file = shelf.client.tracking_uri.removeprefix("sqlite:///")
    with sqlite3.connect(file) as open_file:
        done = open_file.execute(f"{statement} and run_uuid = ?", (*values, run))
        assert done.rowcount == 1
    open_file.close()


def stored(shelf: Shelf, number: int) -> str:
    return read_audit_log(shelf.client, shelf.name).lines[number]


@pytest.fixture
def written(shelf: Shelf) -> Shelf:
    """Five lines: two promotions, and three of traffic."""
    for revision in range(3):
        audit(shelf.client, "traffic", shelf.name, revision=revision, by="ada")
    assert problems(shelf.client, shelf.name) == []
    return shelf


def change(shelf: Shelf, number: int, text: str) -> None:
    database(shelf, "update params set value = ? where key = ?", text, str(number))


def rehashed(shelf: Shelf, number: int, **facts: str) -> str:
    from evermodel.registry.audit import _digest

    line = json.loads(stored(shelf, number))
    line["facts"] |= facts
    return json.dumps({**line, "sha256": _digest(line)})


def test_mlflow_s_api_takes_no_second_value(written: Shelf) -> None:
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException):
        written.client.log_param(read_audit_log(written.client, written.name).run, "2", "{}")


def test_an_edited_line_is_named(written: Shelf) -> None:
    change(written, 3, stored(written, 3).replace("ada", "bob"))
    assert problems(written.client, written.name) == ["line 3 was edited"]


def test_an_edited_line_with_a_new_hash_of_its_own_is_named_by_the_next(written: Shelf) -> None:
    change(written, 3, rehashed(written, 3, by="bob"))
    assert problems(written.client, written.name) == [
        "line 4 does not follow line 3: one of the two was replaced"
    ]


def test_the_last_line_edited_with_a_new_hash_is_named_by_the_tag(written: Shelf) -> None:
    change(written, 5, rehashed(written, 5, by="bob"))
    assert problems(written.client, written.name) == [
        "line 5 was replaced: the tag evermodel.audit_end has another SHA-256"
    ]


def test_a_missing_line_is_named(written: Shelf) -> None:
    database(written, "delete from params where key = ?", "3")
    assert problems(written.client, written.name) == ["line 3 is missing"]


def test_swapped_lines_are_named(written: Shelf) -> None:
    third, fourth = stored(written, 3), stored(written, 4)
    change(written, 3, fourth)
    change(written, 4, third)
    name = written.name
    assert problems(written.client, name) == [
        f"line 3 holds line 4 of model {name}",
        f"line 4 holds line 3 of model {name}",
    ]


def test_a_cut_off_end_is_named_also_after_more_lines(written: Shelf) -> None:
    for number in ("4", "5"):
        database(written, "delete from params where key = ?", number)
    cut = ["line 4 is missing", "line 5 is missing"]
    assert problems(written.client, written.name) == cut
    audit(written.client, "traffic", written.name, revision=9, by="ada")
    assert problems(written.client, written.name) == cut


def test_a_line_whose_writer_was_interrupted_before_the_tag_gets_it_by_the_next_try(shelf: Shelf) -> None:
    def end() -> str:
        return ModelRegistry(shelf.client).read(shelf.name).tags[AUDIT]

    before = end()
    audit(shelf.client, "traffic", shelf.name, revision=9, by="ada")
    marked = end()
    shelf.client.set_registered_model_tag(shelf.name, AUDIT, before)
    audit(shelf.client, "traffic", shelf.name, revision=9, by="ada")
    assert end() == marked
    assert events(shelf.client, shelf.name).count("traffic") == 1


def test_a_deleted_run_and_a_deleted_tag_are_named(written: Shelf) -> None:
    written.client.delete_registered_model_tag(written.name, AUDIT)
    assert problems(written.client, written.name) == [
        "the tag evermodel.audit_end of the registered model is missing: a cut-off end would not show"
    ]
    audit(written.client, "traffic", written.name, revision=9, by="ada")
    assert events(written.client, written.name)[-2:] == ["lost end", "traffic"], "and stays in the log"
    assert problems(written.client, written.name) == []
    written.client.delete_run(read_audit_log(written.client, written.name).run)
    assert problems(written.client, written.name) == [f"line {n} is missing" for n in range(1, 8)]


@pytest.mark.parametrize("value", ["", "no JSON", "[]", "{}", '{"line": "5", "sha256": 1}', '{"line": true}'])
def test_a_tag_written_by_hand_stops_neither_verify_nor_the_next_line(written: Shelf, value: str) -> None:
    written.client.set_registered_model_tag(written.name, AUDIT, value)
    assert "the tag evermodel.audit_end" in problems(written.client, written.name)[0]
    audit(written.client, "traffic", written.name, revision=9, by="ada")
    assert events(written.client, written.name)[-2:] == ["lost end", "traffic"]


def _other_run(shelf: Shelf, experiment: str, copied: bool, kind: str = "audit") -> str:
    """Make a run beside the log's, with its lines if they are `copied`."""
    known = shelf.client.get_experiment_by_name(experiment)
    identity = known.experiment_id if known else shelf.client.create_experiment(experiment)
    run: str = shelf.client.create_run(identity, tags={KIND: kind}, run_name=experiment).info.run_id
    for number, line in read_audit_log(shelf.client, shelf.name).lines.items() if copied else ():
        shelf.client.log_param(run, str(number), line)
    return run


def _names(shelf: Shelf, run: object) -> None:
    end = json.loads(ModelRegistry(shelf.client).read(shelf.name).tags[AUDIT])
    shelf.client.set_registered_model_tag(shelf.name, AUDIT, json.dumps({**end, "run": run}))


@pytest.mark.parametrize("run", ["no run", "", 7, None, "an empty one", "of another kind", "deleted"])
def test_a_tag_that_names_a_run_that_is_not_the_log_diverts_no_line(written: Shelf, run: object) -> None:
    real = read_audit_log(written.client, written.name).run
    if run == "an empty one":
        run = _other_run(written, f"{written.name}-audit", copied=False)
    elif run in ("of another kind", "deleted"):
        kind = "audit" if run == "deleted" else "retrain"
        made = _other_run(written, "another", copied=True, kind=kind)
        if run == "deleted":
            written.client.delete_run(made)
        run = made
    _names(written, run)
    assert problems(written.client, written.name) == [
        f"the tag evermodel.audit_end names run {run}, but the log is run {real}"
    ]
    audit(written.client, "traffic", written.name, revision=9, by="ada")
    log = read_audit_log(written.client, written.name)
    assert (log.run, max(log.lines), log.end["run"]) == (real, 6, real)
    assert problems(written.client, written.name) == []


@pytest.mark.parametrize("experiment", ["another", "the same"])
def test_a_tag_that_names_a_copy_of_the_log_is_named_until_it_is_gone(
    written: Shelf, experiment: str
) -> None:
    real = read_audit_log(written.client, written.name).run
    if experiment == "the same":
        experiment = f"{written.name}-audit"
    copy = _other_run(written, experiment, copied=True)
    _names(written, copy)
    audit(written.client, "traffic", written.name, revision=9, by="ada")
    assert problems(written.client, written.name) == [
        f"the tag evermodel.audit_end names run {copy}, but the log is run {real}",
        "line 6 is missing",
    ]
    written.client.delete_registered_model_tag(written.name, AUDIT)
    audit(written.client, "traffic", written.name, revision=10, by="ada")
    assert events(written.client, written.name)[-2:] == ["lost end", "traffic"]
    assert problems(written.client, written.name) == []


def test_a_tag_of_before_names_no_run_and_is_read(written: Shelf) -> None:
    end = json.loads(ModelRegistry(written.client).read(written.name).tags[AUDIT])
    del end["run"]
    written.client.set_registered_model_tag(written.name, AUDIT, json.dumps(end))
    assert problems(written.client, written.name) == []
    audit(written.client, "traffic", written.name, revision=9, by="ada")
    assert max(read_audit_log(written.client, written.name).lines) == 6
    assert problems(written.client, written.name) == []


def test_tags_that_were_read_long_ago_change_no_line(written: Shelf) -> None:
    old = ModelRegistry(written.client).read(written.name).tags
    for revision in range(10, 13):
        audit(written.client, "traffic", written.name, old, revision=revision, by="ada")
    audit(written.client, "traffic", written.name, {}, revision=13, by="ada")
    assert max(read_audit_log(written.client, written.name).lines) == 9
    assert problems(written.client, written.name) == []


def test_a_tag_that_names_a_far_line_is_told_in_time(written: Shelf) -> None:
    far = json.dumps({"line": 10**12, "sha256": "0" * 64})
    written.client.set_registered_model_tag(written.name, AUDIT, far)
    found = problems(written.client, written.name)
    assert (found[0], len(found)) == ("line 6 is missing", 1000)


@pytest.mark.parametrize("value", ["", "[]", "{}", '{"facts": 1}', '{"line": 3, "time": 1, "facts": {}}'])
def test_a_line_that_is_no_line_is_an_edited_one(written: Shelf, value: str) -> None:
    change(written, 3, value)
    assert problems(written.client, written.name) == ["line 3 was edited"]


def test_a_promotion_made_up_by_hand_and_one_removed_from_the_history_are_named(written: Shelf) -> None:
    tags = ModelRegistry(written.client).read(written.name).tags
    (key,) = [k for k, v in tags.items() if k.startswith(PROMOTION) and '"run_key": "key 2"' in v]
    written.client.delete_registered_model_tag(written.name, key)
    made_up = json.loads(tags[key])
    made_up["promotion"] |= {"run_key": "made up", "at": "2999-01-01T00:00:00.000+00:00"}
    made_up["complete"] = True
    written.client.set_registered_model_tag(written.name, PROMOTION + "x", json.dumps(made_up))
    assert problems(written.client, written.name) == [
        "line 2: the registry has no such promotion in its history",
        "the promotion of version 2 at 2999-01-01T00:00:00.000+00:00 has no line",
    ]


# Aliases moved by hand.


def test_an_alias_moved_by_hand_is_found_told_and_recorded(shelf: Shelf, tmp_path: Path) -> None:
    shelf.client.set_registered_model_alias(shelf.name, CHAMPION, "3")
    said = (
        "the champion is version 3, but the last recorded promotion is version 2: the alias was moved outside "
        "evermodel"
    )
    assert problems(shelf.client, shelf.name) == [said]
    status = status_of(shelf.client, shelf.name, reports_in(tmp_path))
    assert any(said in line for line in lines_of(status))

    shelf.promote("1", "3", "key 1 again")
    assert problems(shelf.client, shelf.name) == [], "it is in the log from now on"
    assert events(shelf.client, shelf.name)[-2:] == ["foreign alias", "promotion"]
    assert lines(shelf.client, shelf.name)[-2]["facts"]["found"] == said
    shelf.client.delete_registered_model_alias(shelf.name, CHAMPION)
    assert "the champion is missing" in problems(shelf.client, shelf.name)[0]


def test_the_commands_name_what_is_wrong_and_end_with_1(world: World) -> None:
    made = RolloutWorld(world, {}, name=world.name)
    made.serve("r/1")

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, list(words))

    intact = run("audit", "verify")
    assert (intact.exit_code, f"{world.name}: 2 lines, intact" in intact.output) == (0, True), intact.output
    assert f"({os_user()}@" in run("audit", "list", world.name).output
    findings = {finding.name: finding for finding in check_tracking(world.settings)}
    assert findings["audit log"].level == "green"

    _, second = made.judged("r/2", "1")
    world.client.set_registered_model_alias(world.name, CHAMPION, second)
    for words in (("audit", "verify"), ("audit", "verify", world.name, "--json")):
        broken = run(*words)
        assert broken.exit_code == 1
        assert "the alias was moved outside evermodel" in broken.output
    findings = {finding.name: finding for finding in check_tracking(world.settings)}
    assert findings["audit log"].level == "red"


# Processes.


def _writes(uri: str, model: str, writer: int, count: int) -> None:
    client = connect(uri)
    for number in range(count):
        audit(client, "traffic", model, writer=writer, number=number)


def test_writers_in_several_processes_keep_one_chain(mlflow_server: str) -> None:
    shelf = Shelf(mlflow_server)
    shelf.register("key 1")
    writers = [FORK.Process(target=_writes, args=(mlflow_server, shelf.name, n, 8)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 4
    log = read_audit_log(shelf.client, shelf.name)
    assert list(log.lines) == list(range(1, 33))
    assert len({(e["facts"]["writer"], e["facts"]["number"]) for e in log.entries()}) == 32
    assert problems(shelf.client, shelf.name) == []


@pytest.mark.parametrize("number", range(1, 7))
def test_a_kill_at_any_write_leaves_a_chain_that_verifies_and_no_change_without_a_line(
    mlflow_server: str, number: int
) -> None:
    shelf = Shelf(mlflow_server)
    for version, before in (("1", None), ("2", "1")):
        shelf.register(f"key {version}")
        if version == "1":
            shelf.promote(version, before, "key 1")
    # The record, the line, its tag, champion, challenger, previous.
    kill_at(lambda: shelf.promote("2", "1", "key 2"), changes_any, number, after=True)

    assert problems(shelf.client, shelf.name) == []
    promoted = [e["facts"]["version"] for e in lines(shelf.client, shelf.name) if e["event"] == "promotion"]
    assert shelf.alias(CHAMPION) in promoted

    shelf.promote("2", "1", "key 2")
    assert events(shelf.client, shelf.name) == ["promotion", "promotion"]
    assert (problems(shelf.client, shelf.name), shelf.alias(CHAMPION)) == ([], "2")


def test_the_daily_drift_run_tells_an_alias_moved_by_hand(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from evermodel.pipelines.drift import DriftRun

    class JudgedError(Exception):
        pass

    def judge(*_: Any) -> Any:
        raise JudgedError

    made = RolloutWorld(world, {})
    made.serve("r/1")
    run = DriftRun(made.spec, datetime.now(UTC), world.client, world.settings)
    monkeypatch.setattr(DriftRun, "_verdict", judge)
    with pytest.raises(JudgedError):
        run.judge()
    assert "moved outside" not in caplog.text
    _, second = made.judged("r/2", "1")
    world.client.set_registered_model_alias(made.name, CHAMPION, second)
    with pytest.raises(JudgedError):
        run.judge()
    assert f"model {made.name}: the champion is version 2" in caplog.text
