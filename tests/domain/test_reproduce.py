"""Training a version again: the same model, or what differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.errors import PermanentError, SnapshotStoreError
from evermodel.modeling.training import fit_final, rows_of
from evermodel.pipelines.reproduce import package_differences, reproduce
from evermodel.pipelines.reproduce_worker import compare_answers
from evermodel.registry.tracking import find_run, log_json, read_json
from evermodel.spec.window import split_window
from support.flights import World, flights_world

DAY = "2013-03-11"


@pytest.fixture(scope="module")
def first(mlflow_store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with version 1 of its model; tests leave it as they found it."""
    world = flights_world(tmp_path_factory.mktemp("first"), mlflow_store)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        world.champion(DAY, evidence=True)
        yield world


@pytest.fixture
def snapshot(first: World) -> Iterator[Path]:
    """The snapshot's file, put back afterwards."""
    file = first.settings.lake / first.client.get_model_version(first.name, "1").tags["evermodel.snapshot"]
    content = file.read_bytes()
    yield file
    file.unlink(missing_ok=True)
    file.write_bytes(content)


def test_a_version_trained_again_answers_the_same_bit_for_bit(first: World) -> None:
    told = CliRunner().invoke(app, ["reproduce", first.name, "1", "--json"])
    found = json.loads(told.stdout)
    assert told.exit_code == 0
    assert (found["identical"], found["different_rows"], found["largest_difference"]) == (True, 0, 0.0)
    assert found["rows"] > 100
    assert found["differences"] == []
    candidate = next(c for c in first.spec.candidates if c.name == found["candidate"])
    assert found["params"] == candidate.params
    assert (found["snapshot_from"], found["seed"]) == ("lake", 0)


def test_the_training_runs_again_with_the_number_of_threads_it_had(
    first: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    import subprocess

    taken: list[str] = []
    run = subprocess.run

    def noted(*arguments: object, **options: object) -> object:
        env = options.get("env")
        if isinstance(env, dict):
            taken.append(env["OMP_NUM_THREADS"])
        return run(*arguments, **options)  # type: ignore[call-overload]

    then = first.client.get_model_version(first.name, "1").tags["evermodel.threads"]
    monkeypatch.setenv("OMP_NUM_THREADS", str(int(then) + 1))
    monkeypatch.setattr("evermodel.pipelines.reproduce.subprocess.run", noted)

    assert reproduce(first.client, first.name, "1", first.settings).identical
    assert taken == [then]


def test_a_snapshot_that_is_gone_comes_back_by_dvc_and_the_lake_stays_as_it_is(
    first: World, snapshot: Path
) -> None:
    snapshot.unlink()
    pointer = snapshot.with_name(snapshot.name + ".dvc")
    kept = pointer.read_bytes()
    pointer.unlink()  # another machine has not even that
    try:
        found = reproduce(first.client, first.name, "1", first.settings)
        assert not pointer.exists()
    finally:
        pointer.write_bytes(kept)
    assert (found.identical, found.snapshot_from) == (True, "dvc")
    assert not snapshot.exists()


def test_changed_data_is_named_when_dvc_has_lost_the_right_ones(first: World, snapshot: Path) -> None:
    table = pq.read_table(snapshot)
    label = first.spec.label.column
    flipped = pc.subtract(1, table[label]).cast(table[label].type)
    snapshot.unlink()
    pq.write_table(table.set_column(table.column_names.index(label), label, flipped), snapshot)
    empty = first.settings.model_copy(update={"dvc_remote": str(first.folder / "nothing")})
    found = reproduce(first.client, first.name, "1", empty)
    assert not found.identical
    assert found.different_rows > 0
    assert (found.largest_difference or 0) > 0.01
    assert any(
        d.startswith(f"data: the version was trained on md5 {found.snapshot_md5}") for d in found.differences
    )
    snapshot.unlink()
    with pytest.raises(SnapshotStoreError):
        reproduce(first.client, first.name, "1", empty)


@pytest.fixture
def changed_spec(first: World) -> Iterator[Callable[..., None]]:
    """Change the spec.json of the retrain; it is put back afterwards."""
    run = find_run(first.client, first.name, f"retrain/{first.name}/{DAY}", kind="retrain")
    assert run is not None
    run_id = run.info.run_id
    spec = read_json(first.client, run_id, "spec.json")
    yield lambda **changes: log_json(first.client, run_id, {**spec, **changes}, "spec.json")
    log_json(first.client, run_id, spec, "spec.json")


def test_a_spec_that_was_changed_since_is_not_trained(
    first: World, changed_spec: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed_spec(seed=5)
    monkeypatch.setattr("evermodel.pipelines.reproduce.subprocess.run", None)
    with pytest.raises(PermanentError, match=f"trained with another spec: .* digest {first.spec.digest}"):
        reproduce(first.client, first.name, "1", first.settings)


def test_changed_parameters_and_seed_are_named_where_a_variable_may_explain_them(
    first: World, changed_spec: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHOSE", "another team's")
    changed_spec(seed=5, split={**first.spec.canonical()["split"], "train": "5w"}, description="${WHOSE}")
    told = CliRunner().invoke(app, ["reproduce", first.name, "1"])
    assert told.exit_code == 1
    assert "is NOT reproduced" in told.stdout
    assert f"differs: spec, or a variable in it: the version has digest {first.spec.digest}" in told.stdout
    assert "random_state: 0 then, 5 now" in told.stdout


def test_a_version_that_does_not_exist_is_named(first: World) -> None:
    with pytest.raises(PermanentError, match="no version 99"):
        reproduce(first.client, first.name, "99", first.settings)


def test_fitting_twice_from_one_snapshot_gives_the_same_answers_bit_for_bit(
    first: World, snapshot: Path
) -> None:
    spec, settings = first.spec, first.settings
    as_of = first.retrain(DAY).as_of
    path = str(snapshot.relative_to(settings.lake))
    rows = rows_of(spec, path, split_window(spec, as_of).test, settings).frame
    for candidate in spec.candidates:
        answers = [
            fit_final(spec, candidate, snapshot=path, as_of=as_of, settings=settings).predict_proba(rows)
            for _ in range(2)
        ]
        assert answers[0].tobytes() == answers[1].tobytes()


def test_answers_are_compared_bit_for_bit() -> None:
    one = np.array([[0.1, 0.9], [0.5, 0.5], [0.3, 0.7]])
    other = one.copy()
    other[1, 0] = np.nextafter(0.5, 1)
    assert compare_answers(one, one.copy())["different_rows"] == 0
    found = compare_answers(one, other)
    assert (found["rows"], found["different_rows"]) == (3, 1)
    assert 0 < found["largest_difference"] < 1e-15
    assert found["digits"] == 15
    assert compare_answers(one, one + 0.0123)["digits"] == 1
    assert compare_answers(one, one.copy())["digits"] is None
    other_shape = {"rows": 3, "different_rows": 3, "largest_difference": None, "digits": None}
    assert compare_answers(one, one[:, :1]) == other_shape


def test_what_another_processor_rounds_differently_is_the_same_model(first: World) -> None:
    found = reproduce(first.client, first.name, "1", first.settings)
    assert found.processor == found.processor_now
    here = replace(found, identical=False, different_rows=7, largest_difference=4e-16, digits=15)
    there = replace(here, processor="another")
    assert [one.reproduced for one in (found, here, there)] == [True, False, True]
    assert "all" in there.sentences()[0]
    assert "have the same answer to 15 digits (fitted on another processor" in there.sentences()[0]
    assert f"  processor another then, {found.processor_now} now" in there.sentences()
    for wrong in (
        replace(there, digits=5),
        replace(there, processor="unknown"),
        replace(there, differences=("seed",)),
    ):
        assert not wrong.reproduced
        assert "is NOT reproduced" in wrong.sentences()[0]


def test_packages_of_other_versions_are_named(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(f"numpy=={np.__version__}\nscipy==0.0.1\nnot-there==1.0\n")
    (tmp_path / "python_env.yaml").write_text("python: 2.7.18\n")
    found = package_differences(tmp_path)
    assert [line.split(" then")[0] for line in found] == [
        "package scipy: 0.0.1",
        "package not-there: 1.0",
        "Python: 2.7.18",
    ]
    assert found[1].endswith("not installed now")
