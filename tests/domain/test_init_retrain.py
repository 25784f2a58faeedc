"""A drafted spec runs through every step of a retrain as it is, on real tables out of packages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.settings import Settings
from evermodel.registry.registry import ModelRegistry
from evermodel.spec import load_spec
from support import nasty_tables
from support.flights import World


def breast_cancer(folder: Path) -> Path:
    """569 tumours from scikit-learn: 30 numbers, no id, no time."""
    from sklearn.datasets import load_breast_cancer

    file = folder / "breast_cancer.parquet"
    load_breast_cancer(as_frame=True).frame.to_parquet(file)
    return file


def doctor_visits(folder: Path) -> Path:
    """20,190 person years of RAND's health insurance experiment from statsmodels: a count to predict, no id, no time."""
    from statsmodels.datasets import randhie

    file = folder / "doctor_visits.csv"
    randhie.load_pandas().data.to_csv(file, index=False)
    return file


def spreadsheet(folder: Path) -> Path:
    """2,000 orders as a German spreadsheet exports them: days, money with decimal commas, blanks around yes and no."""
    columns = nasty_tables.facts()
    amounts = [f"{amount:,.2f} €".translate({44: 46, 46: 44}) for amount in columns["amount"]]
    late = [" ja " if late else "nein" for late in columns["late"]]
    days = [f"{moment:%d.%m.%Y}" for moment in nasty_tables.moments()]
    table = {"Datum": days, "Betrag": amounts, "Land": columns["country"], "late": late}
    return nasty_tables.write_csv(folder / "spreadsheet.csv", table, ";")


def seattle_weather(folder: Path) -> Path:
    """Four years of NOAA's daily weather from vega_datasets: a date, numbers and a category, no id."""
    import vega_datasets

    source = Path(vega_datasets.__file__).parent / "_data" / "seattle-weather.csv"
    file = folder / "seattle_weather.csv"
    file.write_bytes(source.read_bytes())
    return file


@pytest.mark.parametrize(
    ("table", "label", "task", "options"),
    [
        (breast_cancer, "target", "binary", ["--shuffle"]),
        (doctor_visits, "mdvis", "regression", ["--shuffle"]),
        (seattle_weather, "temp_max", "regression", []),
        (spreadsheet, "late", "binary", []),
    ],
)
def test_a_draft_runs_through_every_step_of_a_retrain(
    world: World, tmp_path: Path, table: Callable[[Path], Path], label: str, task: str, options: list[str]
) -> None:
    name = f"{table.__name__}_{world.name}"
    drafted = CliRunner().invoke(
        app, ["init", str(table(tmp_path)), "--label", label, "--name", name, *options]
    )
    assert drafted.exit_code == 0, drafted.output
    assert CliRunner().invoke(app, ["check", name]).exit_code == 0
    as_of = re.findall(r"--as-of (\d{4}-\d\d-\d\d)", drafted.output)[-1]
    spec = load_spec(name, Settings.from_environment())
    assert spec.task == task

    drafts = World(name, world.folder, world.settings, world.environment)
    retrain = drafts.retrain(as_of)
    taken = retrain.extract()
    validated = retrain.validate(taken)
    decision = retrain.evaluate(validated.snapshot.path, drafts.train(retrain, validated.snapshot.path), None)
    version = str(retrain.register(validated.snapshot.to_json()).version)
    retrain.deploy(version, "test")

    assert validated.report.failures == ()
    assert taken.rows >= 0.95 * spec.validation.min_rows * 2
    assert decision.ship, decision.reason
    assert str(ModelRegistry(drafts.client).champion(name).version) == version
    again = retrain.extract()
    assert again.digest == taken.digest
