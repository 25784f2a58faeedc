"""`build_dags` in a DAG file of one's own: kinds, hooks, the folder, the prefix, and what is refused."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.airflow_runs import KINDS, run
from support.flights import FAST, World
from support.paths import PROJECT

CONTEXT = "_AIRFLOW_PARSING_CONTEXT_DAG_ID"
SHARED = {"digest_data-science", "evermodel_messages", "evermodel_guard"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the shipped spec, which is not the installation's."""
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path / "nothing-here"))
    (tmp_path / "models").mkdir()
    shutil.copy(PROJECT / "include" / "models" / "flights.yaml", tmp_path / "models")
    return tmp_path / "models"


def dag_file(folder: Path, arguments: str = "", before: str = "") -> Any:
    """Parse a DAG file as Airflow does, and return its bag."""
    from airflow.dag_processing.dagbag import DagBag

    file = folder.parent / "evermodel_dags.py"
    call = f"globals().update(build_dags({str(folder)!r}, {arguments}))"
    file.write_text(f'"""Airflow."""\nfrom evermodel_provider import build_dags\n{before}\n{call}\n')
    return DagBag(str(file))


def dags(folder: Path, arguments: str = "", before: str = "") -> dict[str, Any]:
    bag = dag_file(folder, arguments, before)
    assert bag.import_errors == {}
    return dict(bag.dags)


def refused(folder: Path, arguments: str) -> str:
    bag = dag_file(folder, arguments)
    assert not bag.dags
    (error,) = bag.import_errors.values()
    return str(error)


def test_one_line_builds_the_dags_of_every_spec_in_a_folder(folder: Path) -> None:
    found = dags(folder)
    assert set(found) == {f"{kind}_flights" for kind in KINDS} | SHARED
    assert {dag.fileloc for dag in found.values()} == {str(folder.parent / "evermodel_dags.py")}


def test_the_tasks_read_the_spec_of_that_folder(folder: Path) -> None:
    found, spec = dags(folder), str(folder / "flights.yaml")
    tasks = [task for dag in found.values() for task in dag.tasks if not task.is_mapped]
    models = [task.model for task in tasks if hasattr(task, "model")]
    assert len(models) > 15
    assert set(models) == {spec}
    assert found["retrain_flights"].default_args["on_failure_callback"][0].model == spec
    assert found["digest_data-science"].task_dict["digest"].hook.settings.models == folder
    assert found["evermodel_messages"].task_dict["send"].models == str(folder)


def test_in_the_installation_s_folder_the_tasks_name_the_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERMODEL_MODELS", str(folder))
    assert dags(folder, 'kinds="rollback"')["rollback_flights"].task_dict["rollback"].model == "flights"


@pytest.mark.integration
def test_a_retrain_by_the_spec_of_a_folder_that_only_the_dag_file_knows(
    world: World, without_evidence: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.change(candidates=[FAST])
    models = world.settings.models
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path))

    done = run(dags(models, "kinds=['retrain']")[f"retrain_{world.name}"], "2013-03-11")

    assert done.state == "success", done.states
    assert done.xcom("report")["outcome"] == "deployed"
    assert (models / f"{world.name}.schema.yaml").is_file(), "the schema is written beside the spec"


def test_kinds_choose(folder: Path) -> None:
    assert set(dags(folder, "kinds=('drift', 'messages')")) == {"drift_flights", "evermodel_messages"}


def test_hooks_change_what_a_team_changes_and_keep_the_rest(folder: Path) -> None:
    spec = folder / "flights.yaml"
    spec.write_text(f"{spec.read_text()}\nteam: risk\nresources: {{training: {{pool: big}}}}\n")
    before = "page = lambda context: None\nfrom airflow.sdk import Asset"
    hooks = """default_args={"retries": 5, "owner": "platform"}, tags=["tier-1"], pool="ml",
        schedules={"retrain": "0 5 * * 2", "drift": None, "score": [Asset("lake")]},
        access_control={"auditors": {"DAGs": {"can_read"}}},
        callbacks={"on_failure_callback": page, "on_retry_callback": [page]}"""
    found = dags(folder, hooks, before)

    assert set(found) == {f"{kind}_flights" for kind in KINDS} | SHARED
    retrain = found["retrain_flights"]
    assert {"evermodel", "retrain", "flights", "tier-1"} == retrain.tags
    assert set(retrain.access_control) == {"risk", "auditors"}
    extract, train = retrain.task_dict["extract"], retrain.task_dict["train"]
    assert (extract.retries, extract.owner, extract.pool) == (5, "platform", "ml")
    assert train.partial_kwargs["pool"] == "big", "what the spec says holds"
    assert [type(one).__name__ for one in extract.on_failure_callback] == ["FailureNotifier", "function"]
    assert len(extract.on_retry_callback) == 1
    assert found["drift_flights"].schedule is None
    assert [asset.name for asset in found["score_flights"].schedule] == ["lake"]
    assert found["retrain_flights"].timetable.timetable.expression == "0 5 * * 2"
    assert "retrain_wanted" in str(found["retrain_flights"].timetable.asset_condition)


@pytest.mark.parametrize("kind", ["drift", "score", "retrain"])
def test_a_new_dag_waits_for_its_hour_also_a_minute_after_it(folder: Path, kind: str) -> None:
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables.base import TimeRestriction

    past = datetime.now(UTC) - timedelta(minutes=1)
    cron = f"{past.minute} {past.hour} * * *"
    dag = dags(folder, f"schedules={{{kind!r}: {cron!r}}}")[f"{kind}_flights"]
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))

    first = stored.timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(None, None, catchup=False)
    )

    assert first is not None
    assert first.run_after > past


def test_an_installation_may_start_nothing_by_the_clock(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERMODEL_SCHEDULES", "off")
    found = dags(folder, "schedules={'drift': '0 5 * * *'}")
    assert found["score_flights"].schedule is None
    assert found["drift_flights"].schedule is None
    assert "flights_retrain_wanted" in str(found["retrain_flights"].timetable.asset_condition)
    assert not hasattr(found["retrain_flights"].timetable, "timetable")
    assert found["evermodel_messages"].schedule is not None


@pytest.mark.parametrize("chosen", ["None", "Asset('lake')"])
def test_a_request_starts_the_retrain_whatever_its_schedule(folder: Path, chosen: str) -> None:
    dag = dags(folder, f"schedules={{'retrain': {chosen}}}", "from airflow.sdk import Asset")[
        "retrain_flights"
    ]
    assert "flights_retrain_wanted" in str(dag.timetable.asset_condition)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("kinds=['retrian']", "kinds: 'retrian' is unknown; did you mean 'retrain'?"),
        ("schedules={'drifts': None}", "schedules: 'drifts' is unknown; did you mean 'drift'?"),
        ("schedules={'rollback': '@daily'}", "use one of retrain, score, drift, digest, guard, messages"),
        ("default_args={'retires': 3}", "default_args: 'retires' is unknown; did you mean 'retries'?"),
        ("callbacks={'on_failure': print}", "did you mean 'on_failure_callback'?"),
        ("schedules={'retrain': 'weekly'}", "schedules: retrain: 'weekly': a cron expression has five parts"),
        ("kinds=['drift', 'broken_specs']", "into a file of its own"),
        ("dag_id_prefix='ml_'", "set EVERMODEL_DAG_ID_PREFIX=ml_ for every process"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(folder: Path, arguments: str, said: str) -> None:
    assert said in refused(folder, arguments)


def test_a_folder_that_is_missing_is_named(folder: Path) -> None:
    assert f"{folder / 'no'}: no such folder" in refused(folder / "no", "")


def test_a_broken_spec_hides_no_dag_and_has_a_file_of_its_own(folder: Path) -> None:
    text = (folder / "flights.yaml").read_text()
    (folder / "other.yaml").write_text(
        text.replace("name: flights", "name: other").replace("margin:", "marjin:")
    )
    assert set(dags(folder)) == {f"{kind}_flights" for kind in KINDS} | SHARED
    assert "gate.marjin: unknown field; did you mean margin?" in refused(folder, "kinds=['broken_specs']")


@pytest.mark.parametrize("prefix", ["", "ml_", "retrain_"])
@pytest.mark.parametrize(
    "wanted", ["drift_flights", "stop_rollout_flights", "evermodel_guard", "digest_data-science"]
)
def test_a_task_s_process_builds_its_own_dag_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, wanted: str
) -> None:
    monkeypatch.setenv("EVERMODEL_DAG_ID_PREFIX", prefix)
    monkeypatch.setenv(CONTEXT, f"{prefix}{wanted}")
    assert set(dags(folder)) == {f"{prefix}{wanted}"}
    monkeypatch.setenv(CONTEXT, "another_dag_of_this_file")
    assert dags(folder) == {}


def test_the_task_that_sends_messages_reads_no_spec(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evermodel_provider.dags import build

    monkeypatch.setattr(build, "load_specs", None)
    monkeypatch.setenv(CONTEXT, "evermodel_messages")
    assert set(dags(folder)) == {"evermodel_messages"}


def test_a_prefix_is_before_every_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_DAG_ID_PREFIX", "ml_")
    found = dags(folder, "dag_id_prefix='ml_'")
    assert set(found) == {f"ml_{name}" for name in {f"{kind}_flights" for kind in KINDS} | SHARED}
