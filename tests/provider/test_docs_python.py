"""Every Python block of the pages is run; a DAG is built, and Airflow's own commands are parsed."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from evermodel.data.validation.schema_file import read_schema
from evermodel.spec import load_spec
from support.guides import Example, commands, examples
from support.paths import PROJECT, SAMPLE

BLOCKS = {f"{block.page.name}:{block.text.split()[1]}": block for block in examples("python")}


def _run(block: Example, **given: Any) -> dict[str, Any]:
    names = {**given}
    exec(compile(block.text, str(block), "exec"), names)
    return names


def test_every_block_has_a_test_here_or_a_reason() -> None:
    here = {"data.md:numpy", "operators.md:airflow.sdk", "settings.md:evermodel_provider.preload"}
    here |= {
        "watch.md:airflow.sdk",
        "validation.md:pandera.pandas",
        "airflow.md:airflow.sdk",
        "operators.md:evermodel_provider",
        "operators.md:evermodel_provider.results",
        "bring-your-model.md:numpy",
        "bring-your-model.md:torch",
    }
    assert {name for name, block in BLOCKS.items() if not block.reason} == here


@pytest.mark.parametrize("block", [one for one in BLOCKS.values() if one.reason], ids=str)
def test_what_a_block_imports_that_is_not_run_exists(block: Example) -> None:
    imports = [node for node in ast.parse(block.text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports
    exec(compile(ast.Module(imports, []), str(block), "exec"), {})


def test_the_transformer_of_ones_own_clips_numbers_and_leaves_categories() -> None:
    import pandas as pd

    frame = pd.DataFrame({"fare": [*range(100)], "class": ["a", "b"] * 50})
    winsorizer = _run(BLOCKS["bring-your-model.md:numpy"])["Winsorizer"](share=0.1)
    clipped = winsorizer.fit(frame).transform(frame)
    assert (clipped["fare"].min(), clipped["fare"].max()) == pytest.approx((9.9, 89.1))
    assert clipped["class"].equals(frame["class"])


def test_the_network_of_ones_own_answers_rows() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here (`make torch`)")
    network = _run(BLOCKS["bring-your-model.md:torch"])["Mlp"](inputs=3, outputs=1)
    assert network(torch.zeros(5, 3)).shape == (5, 1)


def test_the_dag_of_the_operators_is_built(tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    file = tmp_path / "nightly.py"
    file.write_text(BLOCKS["operators.md:airflow.sdk"].text)
    bag = DagBag(str(file))
    assert bag.import_errors == {}
    dag = bag.dags["nightly_flights"]
    assert [task.task_id for task in dag.topological_sort()] == ["arrived", "score", "verdict"]


def test_a_task_that_names_the_type_of_a_result_is_built() -> None:
    dag = _run(BLOCKS["operators.md:evermodel_provider.results"])["dag"]
    assert dag.task_dict["ticket"].upstream_task_ids == {"verdict"}


def test_the_dag_that_a_request_of_a_watched_model_starts_is_built() -> None:
    dag = _run(BLOCKS["watch.md:airflow.sdk"])["dag"]
    assert [asset.name for asset in dag.timetable.asset_condition.objects] == ["churn_retrain_wanted"]


def test_the_retrain_among_own_tasks_is_built(tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    spec = shutil.copy(PROJECT / "include" / "models" / "flights.yaml", tmp_path)
    file = tmp_path / "own.py"
    file.write_text(BLOCKS["operators.md:evermodel_provider"].text.replace('"orders"', f'"{spec}"'))
    bag = DagBag(str(file))
    assert bag.import_errors == {}
    dag = bag.dags["own_orders"]
    assert dag.task_dict["retrain.request"].upstream_task_ids == {"load"}
    assert dag.task_dict["check"].upstream_task_ids == {"retrain.register"}
    assert dag.task_dict["retrain.deploy"].upstream_task_ids == {"retrain.approve", "check"}
    assert dag.task_dict["publish"].upstream_task_ids == {"retrain.report"}
    assert dag.task_dict["retrain.decide"].ship == ["retrain.register", "retrain.report"]
    assert dag.task_dict["retrain.train"].partial_kwargs["retries"] == 2


def test_the_hooks_of_build_dags_are_taken_as_shown(tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    shutil.copy(PROJECT / "include" / "models" / "flights.yaml", tmp_path)
    file = tmp_path / "evermodel_dags.py"
    file.write_text(BLOCKS["airflow.md:airflow.sdk"].text.replace("/srv/models", str(tmp_path)))
    bag = DagBag(str(file))
    assert bag.import_errors == {}
    ids = {f"{kind}_flights" for kind in ("retrain", "score", "drift", "rollback")}
    assert set(bag.dags) == {*ids, "evermodel_messages"}
    assert bag.dags["drift_flights"].schedule is None


def test_the_feature_module_gives_the_columns_that_its_spec_declares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas as pd

    monkeypatch.setenv("EVERMODEL_DATA", str(tmp_path))
    (part,) = [one for one in examples("yaml") if "derived_numeric" in one.text]
    spec = yaml.safe_load((PROJECT / "include" / "models" / "flights.yaml").read_text())
    del spec["validation"]["ranges"]
    file = tmp_path / "flights.yaml"
    file.write_text(yaml.safe_dump({**spec, **yaml.safe_load(part.text)}))
    declared = load_spec(str(file)).features

    module = _run(BLOCKS["data.md:numpy"])
    frame = pd.DataFrame({"distance": [733.0], "temp": [40.0], "carrier": ["UA"], "origin": ["LGA"]})
    made = module["features"](frame)
    assert {*declared.derived_numeric, *declared.derived_categorical} <= set(made.columns)
    assert made["route"].tolist() == ["UALGA"]


def test_the_scheduler_s_preload_does_nothing_elsewhere() -> None:
    assert callable(_run(BLOCKS["settings.md:evermodel_provider.preload"])["preload"])


def test_pandera_reads_the_schema_file_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd

    monkeypatch.chdir(PROJECT)
    frame = pd.read_parquet(SAMPLE).astype({"late": "int8"})
    # New categories are no more than a warning here, and an error there.
    seen = (
        read_schema(PROJECT / "include" / "models" / "flights.schema.yaml").columns["dest"].categories or ()
    )
    names = _run(BLOCKS["validation.md:pandera.pandas"], frame=frame[frame["dest"].isin(seen)])
    assert "temp" in names["schema"].columns


def test_airflow_takes_its_own_commands() -> None:
    from airflow.cli.cli_parser import get_parser

    calls = [words for block in examples("bash", "console") for words in commands(block, "airflow")]
    assert calls
    for words in calls:
        assert get_parser().parse_args(words).subcommand
