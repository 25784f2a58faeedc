"""The DAG files: what they make of good specs, of broken ones, and what reading them costs."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.airflow_runs import DAGS, KINDS, database
from support.paths import PROJECT

AIRFLOW = [sys.executable, "-m", "airflow", "dags"]
OF_NO_MODEL = {"digest_data-science", "evermodel_messages", "evermodel_guard"}
SHIPPED = PROJECT / "include" / "models"
CONTEXT = "_AIRFLOW_PARSING_CONTEXT_DAG_ID"
HEAVY = ("mlflow", "evidently", "sklearn", "pandas", "numpy", "duckdb", "pyarrow", "matplotlib")

RETRAIN = {
    "request": {"new_data"},
    "new_data": {"extract"},
    "extract": {"validate"},
    "validate": {"train"},
    "train": {"evaluate"},
    "evaluate": {"decide"},
    "decide": {"register", "report"},
    "register": {"approve"},
    "approve": {"deploy"},
    "deploy": {"report"},
    "report": set(),
}
SCORE: dict[str, set[str]] = {"new_data": {"score"}, "score": set()}
ROLLOUT: dict[str, set[str]] = {
    "start": {"watch"},
    "watch": {"finish"},
    "finish": {"report"},
    "report": set(),
}
DRIFT = {
    "window": {"verdict"},
    "verdict": {"evidently_report", "alert", "ask_for_retrain"},
    "evidently_report": set(),
    "alert": set(),
    "ask_for_retrain": set(),
}


def dag_bag(path: Path = DAGS) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(path))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of specs with the shipped one in it."""
    shutil.copy(SHIPPED / "flights.yaml", tmp_path)
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAGs of the example's first spec."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copy(SHIPPED / "flights.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVERMODEL_MODELS", str(folder))
        bag = dag_bag()
    assert bag.import_errors == {}
    return dict(bag.dags)


def copy_of(models: Path, name: str, broken: bool = False) -> Path:
    text = (models / "flights.yaml").read_text(encoding="utf-8").replace("name: flights", f"name: {name}", 1)
    file = models / f"{name}.yaml"
    file.write_text(text.replace("margin:", "marjin:") if broken else text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("dag_id", "arrows"),
    [
        ("retrain_flights", RETRAIN),
        ("score_flights", SCORE),
        ("drift_flights", DRIFT),
        ("rollback_flights", {"rollback": set()}),
        ("rollout_flights", ROLLOUT),
        ("stop_rollout_flights", {"stop": set()}),
        ("backtest_flights", {"plan": {"replay"}, "replay": {"compare"}, "compare": set()}),
        ("digest_data-science", {"digest": set()}),
        ("evermodel_messages", {"send": set()}),
        ("evermodel_guard", {"guard": set()}),
    ],
)
def test_the_graph_of_each_dag(shipped: dict[str, Any], dag_id: str, arrows: dict[str, set[str]]) -> None:
    assert set(shipped) == {f"{kind}_flights" for kind in KINDS} | OF_NO_MODEL
    assert {task.task_id: task.downstream_task_ids for task in shipped[dag_id].tasks} == arrows


def test_the_graph_of_a_retrain_is_read_in_four_boxes_and_ids_are_those_without(
    shipped: dict[str, Any],
) -> None:
    dag = shipped["retrain_flights"]
    groups = dag.task_group.children
    boxes = {
        group.group_display_name: sorted(group.children)
        for group in groups.values()
        if hasattr(group, "children")
    }
    assert boxes == {
        "Data": ["extract", "new_data", "validate"],
        "Train": ["train"],
        "Decide": ["decide", "evaluate"],
        "Ship": ["approve", "deploy", "register"],
    }


def test_only_the_joins_have_a_trigger_rule_of_their_own(shipped: dict[str, Any]) -> None:
    rules = {
        f"{dag_id}.{task.task_id}": task.trigger_rule.value
        for dag_id, dag in shipped.items()
        for task in dag.tasks
        if task.trigger_rule != "all_success"
    }
    assert rules == {
        "retrain_flights.evaluate": "all_done_min_one_success",
        "retrain_flights.report": "none_failed",
        "rollout_flights.report": "none_failed",
    }


def test_every_task_is_retried_and_tells_when_it_fails_for_good(shipped: dict[str, Any]) -> None:
    for dag_id, dag in shipped.items():
        for task in dag.tasks:
            assert task.retries >= 1, task
            if dag_id in ("evermodel_messages", "evermodel_guard"):
                continue  # what cannot send cannot tell either, and the guard of no model never runs
            (notifier,) = (
                task.partial_kwargs["on_failure_callback"] if task.is_mapped else task.on_failure_callback
            )
            assert (notifier.model, notifier.channel) == ("flights", "#ml-alerts"), task
            assert task.owner == "data-science", task


def test_every_task_says_what_it_does(shipped: dict[str, Any]) -> None:
    assert [task for dag in shipped.values() for task in dag.tasks if len(task.doc_md or "") < 20] == []


def test_every_dag_and_every_field_of_a_form_says_what_it_is_for(shipped: dict[str, Any]) -> None:
    for name, dag in shipped.items():
        assert all(part in dag.doc_md for part in ("**When**", "**Reads**", "**If it fails**")), name
        for field in dag.params:
            param = dag.params.get_param(field)
            assert param.schema["title"], (name, field)
            assert param.description, (name, field)


def test_schedules_come_from_the_spec_and_nothing_is_caught_up(shipped: dict[str, Any]) -> None:
    crons = {dag_id: json.dumps(_timetable(dag)) for dag_id, dag in shipped.items()}
    assert "0 6 * * 1" in crons["retrain_flights"]
    assert "flights_retrain_wanted" in crons["retrain_flights"], "drift can start it too"
    assert "0 3 * * *" in crons["score_flights"]
    assert "0 4 * * *" in crons["drift_flights"]
    assert "0 7 * * 1" in crons["digest_data-science"]
    assert "*/10 * * * *" in crons["evermodel_messages"]
    assert not any(dag.catchup for dag in shipped.values())
    assert shipped["retrain_flights"].max_active_runs == 1, "two retrains at once would race for the alias"


def test_the_guard_runs_only_where_a_spec_asks_for_it(models: Path) -> None:
    assert dag_bag(DAGS / "guard.py").dags["evermodel_guard"].schedule is None
    text = (models / "flights.yaml").read_text(encoding="utf-8")
    (models / "flights.yaml").write_text(
        f"{text}\nrollback: {{error_rate: 0.02, quality: true}}\n", encoding="utf-8"
    )

    guard = dag_bag(DAGS / "guard.py").dags["evermodel_guard"]

    assert "*/5 * * * *" in json.dumps(_timetable(guard))
    (task,) = guard.tasks
    assert (task.models, task.owner) == (["flights"], "data-science")
    assert task.on_failure_callback[0].model == "flights"
    drift = dag_bag(DAGS / "drift.py").dags["drift_flights"]
    assert drift.task_dict["verdict"].downstream_task_ids == DRIFT["verdict"] | {"guard"}


def test_each_task_is_in_the_pool_of_what_it_does(models: Path) -> None:
    kinds = ("training", "scoring", "drift", "registry")
    pools = "".join(f"  {kind}: {{pool: {kind}, queue: {kind}, slots: 2}}\n" for kind in kinds)
    text = (models / "flights.yaml").read_text(encoding="utf-8")
    rollback = "rollback: {error_rate: 0.02, quality: true}\n"
    (models / "flights.yaml").write_text(f"{text}\n{rollback}resources:\n{pools}", encoding="utf-8")

    found = [
        (f"{dag_id.removesuffix('_flights')}.{task.task_id}", task.pool, task.queue, task.pool_slots)
        for dag_id, dag in dag_bag().dags.items()
        for task in dag.tasks
        if task.pool != "default_pool"
    ]

    assert all((pool, 2) == (queue, slots) for _, pool, queue, slots in found)
    assert {name: pool for name, pool, _, _ in found} == {
        "retrain.train": "training",
        "retrain.evaluate": "training",
        "retrain.register": "registry",
        "retrain.deploy": "registry",
        "score.score": "scoring",
        "drift.verdict": "drift",
        "drift.evidently_report": "drift",
        "drift.guard": "registry",
        "rollback.rollback": "registry",
        "rollout.start": "registry",
        "rollout.watch": "registry",
        "stop_rollout.stop": "registry",
        "backtest.replay": "training",
        "evermodel_guard.guard": "registry",
    }


def _timetable(dag: Any) -> Any:
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.to_dict(dag)["dag"]["timetable"]


def test_a_schedule_that_is_switched_off_leaves_the_dag(models: Path) -> None:
    file = models / "flights.yaml"
    text = file.read_text(encoding="utf-8")
    for cron in ('"0 6 * * 1"', '"0 3 * * *"', '"0 4 * * *"'):
        text = text.replace(cron, "null")
    file.write_text(text, encoding="utf-8")

    bag = dag_bag()

    assert bag.import_errors == {}
    assert set(bag.dags) == {f"{kind}_flights" for kind in KINDS} | OF_NO_MODEL
    assert "cron" not in json.dumps(_timetable(bag.dags["retrain_flights"])).lower()
    assert "NullTimetable" in json.dumps(_timetable(bag.dags["score_flights"]))


def test_a_broken_spec_hides_no_other_model_and_names_line_and_field(models: Path) -> None:
    broken = copy_of(models, "broken", broken=True)
    line = next(n for n, text in enumerate(broken.read_text().splitlines(), 1) if "marjin" in text)

    bag = dag_bag()

    assert set(bag.dags) == {f"{kind}_flights" for kind in KINDS} | OF_NO_MODEL
    ((file, error),) = bag.import_errors.items()
    assert Path(file).name == "broken_specs.py"
    assert f"{broken}: line {line}: gate.marjin: unknown field; did you mean margin?" in error


def test_a_change_of_one_spec_changes_no_other_models_dags(models: Path) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    def stored() -> dict[str, str]:
        return {name: json.dumps(DagSerialization.to_dict(dag)) for name, dag in dag_bag().dags.items()}

    other = copy_of(models, "other")
    before = stored()
    other.write_text(
        other.read_text().replace("seed: 0", "").replace("margin: 0.01", "margin: 0.02") + "\nseed: 7\n"
    )
    after = stored()

    changed = {name for name in before if before[name] != after[name]}
    assert set(after) == set(before)
    assert changed
    assert all(name.endswith("_other") for name in changed)


@pytest.mark.parametrize("model", ["flights", "retrain", "drift", "drift_retrain_drift"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_parses_only_its_own_model(
    kind: str, model: str, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("retrain", "drift", "drift_retrain_drift"):
        copy_of(models, other)
    copy_of(models, "broken", broken=True)
    monkeypatch.setenv(CONTEXT, f"{kind}_{model}")

    bag = dag_bag(DAGS / f"{kind}.py")

    assert bag.import_errors == {}
    assert set(bag.dags) == {f"{kind}_{model}"}


@pytest.mark.slow
def test_reading_the_files_loads_no_heavy_library() -> None:
    probe = (
        "import json, runpy, sys, pathlib; loaded = {}\n"
        f"for file in sorted(pathlib.Path({str(DAGS)!r}).glob('*.py')):\n"
        "    made = runpy.run_path(str(file))\n"
        f"    loaded[file.name] = [heavy for heavy in {HEAVY} if heavy in sys.modules]\n"
        "    others = ('broken_specs.py', 'digest.py', 'guard.py', 'messages.py')\n"
        "    assert any(name.endswith('_flights') for name in made) or file.name in others\n"
        "print(json.dumps(loaded))"
    )
    env = {**os.environ, "EVERMODEL_MODELS": str(SHIPPED)}
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, env=env, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == {file.name: [] for file in DAGS.glob("*.py")}


def test_owners_have_one_digest_each_and_the_first_cron_holds(models: Path) -> None:
    for name, owner, cron in (
        ("a", "Risk & Fraud", "0 5 * * 5"),
        ("b", "Risk & Fraud", "0 6 * * 5"),
        ("c", "c", ""),
    ):
        file = copy_of(models, name)
        digest = f'"{cron}"' if cron else "null"
        text = file.read_text().replace("owner: data-science", f"owner: {owner}")
        file.write_text(text.replace("alerts:\n", f"alerts:\n  digest: {digest}\n"))

    bag = dag_bag(DAGS / "digest.py")

    assert bag.import_errors == {}
    (risk,) = set(bag.dags) - {"digest_data-science"}
    assert risk.startswith("digest_Risk_Fraud_")
    assert "0 5 * * 5" in json.dumps(_timetable(bag.dags[risk]))


@pytest.mark.integration
def test_the_command_line_finds_no_import_error_and_shows_one_for_a_broken_spec(
    models: Path, tmp_path: Path
) -> None:
    from airflow import settings

    database()
    home = tmp_path / "airflow"
    home.mkdir()
    # A plain copy would miss what SQLite still keeps in its write-ahead log.
    with (
        sqlite3.connect(settings.engine.url.database) as source,
        sqlite3.connect(home / "airflow.db") as copy,
    ):
        source.backup(copy)
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    }

    assert _import_errors(env, "--local") == (0, [])

    copy_of(models, "broken", broken=True)
    subprocess.run([*AIRFLOW, "reserialize"], capture_output=True, env=env, check=True)
    code, errors = _import_errors(env)
    assert code == 1
    assert [Path(error["filepath"]).name for error in errors] == ["broken_specs.py"]
    assert "did you mean margin?" in errors[0]["error"]


def _import_errors(env: dict[str, str], *options: str) -> tuple[int, list[dict[str, str]]]:
    command = [*AIRFLOW, "list-import-errors", "--output", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    (listed,) = [line for line in done.stdout.splitlines() if line.startswith("[") and line.endswith("]")]
    return done.returncode, json.loads(listed)
