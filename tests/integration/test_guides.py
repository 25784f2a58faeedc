"""The commands of the guides are run as they are written, on the committed sample and a real MLflow server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner, Result

from evermodel.cli import app
from support.airflow_runs import claim_airflow_home
from support.flights import World, flights_world
from support.guides import commands, examples
from support.paths import SAMPLE

pytestmark = pytest.mark.integration
claim_airflow_home()
CHAMPIONS = ("2013-03-11", "2013-03-25")


@pytest.fixture(scope="module")
def flights(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The model that the guides talk of: version 2 is champion, and version 3 may become it."""
    world = flights_world(tmp_path_factory.mktemp("guides"), mlflow_server, "flights")
    world.change(candidates=[world.spec.candidates[1].model_dump(mode="json")])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in world.environment.items():
            patch.setenv(name, value)
        assert [world.champion(day, evidence=True) for day in CHAMPIONS] == ["1", "2"]
        assert _judged(world, "2013-04-08") == "3"
        yield world


def _judged(world: World, as_of: str) -> str:
    """Run a retrain up to its version, and leave the champion."""
    retrain = world.retrain(as_of)
    snapshot = retrain.validate(retrain.extract()).snapshot
    retrain.evaluate(snapshot.path, world.train(retrain, snapshot.path), "test")
    return str(retrain.register(snapshot.to_json()).version)


def shown_on(page: str, *begin: str) -> list[list[str]]:
    """Return the calls of the command line on a page that begin so."""
    blocks = [one for one in examples("bash", "console") if one.page.name == page and not one.reason]
    calls = [words for block in blocks for words in commands(block, "evermodel")]
    found = [words for words in calls if words[: len(begin)] == list(begin)]
    assert found, f"{page} shows no evermodel {' '.join(begin)}"
    return found


def run(words: list[str]) -> Result:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (words, result.output, result.exception)
    return result


def test_decisions_the_retrains_side_by_side_and_a_version_made_again(flights: World) -> None:
    (table,) = [run(words).stdout for words in shown_on("decisions.md", "runs")]
    assert all(day in table for day in CHAMPIONS)
    (told,) = [run(words).stdout for words in shown_on("decisions.md", "reproduce")]
    assert "flights version 2 is reproduced: all" in told


def test_data_what_versions_were_trained_on_and_how_to_have_it_back(flights: World, tmp_path: Path) -> None:
    (listed,) = [run(words).stdout for words in shown_on("data.md", "data", "list")]
    assert "versions: 2 (as of 2013-03-25)" in listed
    for words in shown_on("data.md", "data", "checkout"):
        there = [str(tmp_path / "flights.parquet") if one.startswith("/tmp/") else one for one in words]
        assert ", matches the version" in run(there).stdout
    assert (tmp_path / "flights.parquet").stat().st_size > 0


def test_approval_what_status_tells(flights: World) -> None:
    (told,) = [run(words).stdout for words in shown_on("approval.md", "status")]
    assert told.startswith("flights: version 2 is champion\n  roc_auc 0.")


def test_rollout_from_start_to_stop(flights: World) -> None:
    begun, looked, shown, stopped = (run(words).stdout for words in shown_on("rollout.md", "rollout"))
    assert begun.startswith("flights: canary of version 3, step 0, running: version 2 ")
    assert looked.startswith("flights: stay: ")
    assert shown.startswith("flights: canary of version 3, step 0, running: ")
    assert stopped.startswith("flights: canary of version 3, step 0, stopped: version 2 100%")


def test_init_drafts_specs_that_pass_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVERMODEL_MODELS", "include/models")
    (tmp_path / "exports").mkdir()
    orders = f"SELECT * RENAME (late AS returned, flight_id AS order_id) FROM '{SAMPLE}'"
    sales = (
        f"SELECT * RENAME (distance AS price, scheduled_at AS sold_at, flight_id AS sale_id) FROM '{SAMPLE}'"
    )
    duckdb.execute(f"COPY ({orders}) TO 'orders.parquet'")
    duckdb.execute(f"COPY ({sales}) TO 'exports/2013.csv'")
    with duckdb.connect("shop.duckdb") as shop:
        shop.execute(f"CREATE TABLE baskets AS {orders}")

    calls = shown_on("init.md", "init")
    for words in calls:
        run([word.replace("///data/", f"//{tmp_path}/") for word in words])
    assert run(["check"]).stdout.count("✓") == len(calls)
    assert (tmp_path / "include" / "models" / "orders.yaml").exists()
