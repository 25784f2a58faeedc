from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from evermodel.cli import app
from evermodel.core.environment import os_user
from evermodel.core.errors import EvermodelError, NoChampionError, PromotionError, SpecError
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import CHAMPION
from evermodel.registry.tags import KIND
from support.airflow_runs import claim_airflow_home
from support.flights import World

claim_airflow_home()


@pytest.fixture(autouse=True)
def _no_slack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SLACK_API_DEFAULT", raising=False)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", f"sqlite:///{tmp_path}/none.db")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def audit_lines(world: World) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = json.loads(run("audit", "list", world.name, "--json").stdout)
    return [{"event": line["event"], **line["facts"]} for line in lines]


def train(world: World, as_of: str, *words: str) -> Result:
    return run("train", world.name, "--as-of", as_of, "--candidate", "logistic", *words)


def test_from_nothing_to_a_champion_its_predictions_and_a_verdict(world: World) -> None:
    trained = run("train", world.name, "--as-of", "2013-03-11", "--reason", "first one")

    assert trained.exit_code == 0, trained.output
    assert f"{world.name}: May ship" in trained.stdout
    for gate in ("roc_auc floor", "output", "unseen categories"):
        assert f"│ {gate} " in trained.stdout
    assert "Version 1 is champion." in trained.stdout
    for name in ("extract", "validate", "train boosted_trees", "train logistic", "evaluate", "deploy"):
        assert f"✓ {name} " in trained.stderr
    (promotion,) = ModelRegistry(world.client).read(world.name).promotions
    assert (promotion.reason, promotion.by) == ("first one", "auto")

    scored = run("score", world.name, "--from", "2013-03-11", "--to", "2013-03-17", "--json")
    assert scored.exit_code == 0, scored.output
    days = json.loads(scored.stdout)
    assert [day["day"] for day in days] == [f"2013-03-{n}" for n in range(11, 18)]
    assert {day["version"] for day in days} == {"1"}

    judged = run("drift", world.name, "--as-of", "2013-03-18", "--json", "--no-report")
    assert judged.exit_code == 0, judged.output
    verdict = json.loads(judged.stdout)
    assert verdict["window_rows"] == sum(day["rows"] for day in days)
    assert (verdict["version"], verdict["severity"]) == ("1", "none")
    assert verdict["retrain"].startswith("no retrain")
    calm = run(
        "drift", world.name, "--as-of", "2013-03-18", "--no-report", "--no-tell", "--fail-on", "warning"
    )
    assert calm.exit_code == 0
    assert f"{world.name}, version 1, 2013-03-11 to 2013-03-18: none." in calm.stdout


def test_the_same_retrain_again_does_nothing_twice_and_is_told_once(world: World) -> None:
    first = train(world, "2013-03-11", "--json")
    again = train(world, "2013-03-11", "--json")

    one, other = json.loads(first.stdout), json.loads(again.stdout)
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert (one["again"], other["again"]) == (False, True)
    assert {**one, "again": True} == other
    assert len(ModelRegistry(world.client).read(world.name).promotions) == 1
    assert "✓ extract" not in again.stderr
    assert len(list(world.settings.outbox.glob("*/message.json"))) == 1
    experiment = world.client.get_experiment_by_name(world.name)
    runs = world.client.search_runs([experiment.experiment_id], f"tags.`{KIND}` = 'retrain'")
    assert [run.info.status for run in runs] == ["FINISHED"]


def test_a_retrain_that_fails_ends_as_failed_in_mlflow_and_goes_on_under_its_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def statuses() -> list[str]:
        experiment = world.client.get_experiment_by_name(world.name)
        runs = world.client.search_runs([experiment.experiment_id], f"tags.`{KIND}` = 'retrain'")
        return [run.info.status for run in runs]

    with monkeypatch.context() as patch:
        patch.setattr("evermodel.pipelines.retrain.Retrain.evaluate", lambda *given: 1 / 0)
        assert isinstance(train(world, "2013-03-11").exception, ZeroDivisionError)
    assert statuses() == ["FAILED"]
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(
            "evermodel.pipelines.retrain.Retrain.evaluate",
            lambda *given: os.kill(os.getpid(), signal.SIGTERM),
        )
        assert train(world, "2013-03-11").exit_code == 128 + signal.SIGTERM
    assert statuses() == ["FAILED"]
    assert signal.getsignal(signal.SIGTERM) is before
    assert train(world, "2013-03-11").exit_code == 0
    assert statuses() == ["FINISHED"]


def test_a_champion_that_stays_is_exit_3_and_no_is_kept_until_forced_with_a_reason(world: World) -> None:
    assert train(world, "2013-03-11").exit_code == 0
    world.change(gate={"floor": 0.99})

    kept = train(world, "2013-03-18")
    assert kept.exit_code == 3, kept.output
    assert "Does not ship" in kept.stdout
    assert "Version 1 stays champion." in kept.stdout
    assert "✓ train boosted_trees" not in kept.stderr

    forced = train(world, "2013-03-18", "--force-reason", "a must", "--json")
    assert forced.exit_code == 0, forced.output
    decision = json.loads(forced.stdout)["decision"]
    assert decision["forced"] is True
    assert "a must" in decision["reason"]
    line = next(line for line in audit_lines(world) if line["event"] == "override")
    assert (line["version"], line["by"], line["against"]) == ("2", "auto", "roc_auc floor")
    assert line["reason"] == f"forced: a must ({os_user()})"
    assert "event=" not in forced.stderr, "the screen is for the answer"


def test_where_the_spec_rolls_out_in_steps_the_rollout_begins_and_the_champion_stays(world: World) -> None:
    assert train(world, "2013-03-11").exit_code == 0
    world.change(rollout={"strategy": "canary"})

    begun = train(world, "2013-03-18")

    assert begun.exit_code == 0, begun.output
    assert "✓ rollout " in begun.stderr
    assert "Version 2 is being rolled out;" in begun.stdout
    assert f"evermodel rollout advance {world.name}" in begun.stdout
    assert str(ModelRegistry(world.client).champion(world.name).version) == "1"
    plan = ModelRegistry(world.client).read(world.name).plan
    assert plan is not None
    assert (plan.challenger, plan.strategy, plan.state) == ("2", "canary", "running")
    again = json.loads(train(world, "2013-03-18", "--json").stdout)
    assert (again["outcome"], again["again"]) == ("rolling out", True)

    assert run("rollout", "stop", world.name, "--reason", "freeze").exit_code == 0
    assert [line["event"] for line in audit_lines(world)][-2:] == ["traffic", "traffic"]
    assert "freeze" in audit_lines(world)[-1]["reason"]
    ended = train(world, "2013-03-18", "--json")
    told = json.loads(ended.stdout)
    assert ended.exit_code == 3
    assert (told["outcome"], told["version"], told["again"]) == ("kept the champion", "2", True)


def test_a_version_that_waits_for_approval_is_promoted_by_hand_with_the_reason(world: World) -> None:
    world.change(approval="manual")
    waits = train(world, "2013-03-11")
    assert waits.exit_code == 3
    assert f'evermodel promote {world.name} 1 --reason "…"' in waits.stdout
    assert ModelRegistry(world.client).at_alias(world.name, CHAMPION) is None
    assert train(world, "2013-03-11", "--json").exit_code == 3

    assert isinstance(run("promote", world.name, "1", "--reason", " ").exception, PromotionError)
    told = json.loads(run("promote", world.name, "1", "--reason", "looked at it", "--json").stdout)
    assert (told["version"], told["previous"], told["reason"]) == ("1", None, "looked at it")
    again = train(world, "2013-03-11", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["promotion"]["reason"] == "looked at it"
    assert "is the champion" in str(run("promote", world.name, "1", "--reason", "x").exception)
    assert "has no version 7" in str(run("promote", world.name, "7", "--reason", "x").exception)


def test_promotion_against_another_champion_needs_force(
    world: World,
) -> None:
    world.change(approval="manual")
    assert train(world, "2013-03-11").exit_code == 3
    world.change(approval="auto")
    assert train(world, "2013-03-18").exit_code == 0

    refused = run("promote", world.name, "1", "--reason", "x")
    assert "was evaluated against no version, but the champion is version 2" in str(refused.exception)
    forced = run("promote", world.name, "1", "--reason", "the demo needs it", "--force")
    assert forced.exit_code == 0, forced.output
    last = ModelRegistry(world.client).read(world.name).promotions[-1]
    assert (last.version, last.previous, last.reason) == ("1", "2", "forced: the demo needs it")
    line = next(line for line in audit_lines(world) if line["event"] == "override")
    assert (line["version"], line["by"]) == ("1", os_user())
    assert line["reason"] == "forced: the demo needs it"

    back = run("rollback", world.name, "--reason", "wrong answers", "--json")
    assert (back.exit_code, json.loads(back.stdout)["version"]) == (0, "2")
    told = [json.loads(file.read_text()) for file in world.settings.outbox.glob("*/message.json")]
    assert f"{world.name}: rolled back to version 2" in "".join(message["text"] for message in told)
    events = [line["event"] for line in audit_lines(world)]
    assert events == ["promotion", "override", "approval", "promotion", "rollback"]


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (["train", "{}", "--as-of", "yesterday"], EvermodelError, "yesterday is not a day"),
        (
            ["train", "{}", "--as-of", "2013-03-11", "--candidate", "tree"],
            SpecError,
            "unknown candidate tree",
        ),
        (["score", "{}", "--to", "2013-03-11"], EvermodelError, "--to needs --from"),
        (["score", "{}", "--from", "2013-03-11", "--to", "2013-03-01"], EvermodelError, "is after"),
        (["train", "nowhere"], SpecError, "nowhere.yaml"),
    ],
)
def test_what_was_asked_wrongly_is_said(
    world: World, words: list[str], kind: type[Exception], said: str
) -> None:
    result = run(*(word.format(world.name) for word in words))
    assert isinstance(result.exception, kind)
    assert said in str(result.exception)


def test_a_drift_verdict_without_a_champion_says_what_to_run(world: World) -> None:
    result = run("drift", world.name, "--as-of", "2013-03-12")
    assert isinstance(result.exception, NoChampionError)
    assert "✗ verdict" in result.stderr
