from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from evermodel.cli import app
from evermodel.core.atomic import write_text
from evermodel.core.errors import SpecError
from evermodel.pipelines.backtest.history import with_example_data
from evermodel.pipelines.backtest.page import _strips
from evermodel.pipelines.backtest.plan import make_plan
from evermodel.pipelines.backtest.replay import replay_policy
from evermodel.pipelines.backtest.run import comparison_of, interim_comparison
from evermodel.spec import load_spec
from support.backtest_history import history, spec_of

FLIGHTS = Path(__file__).parents[2] / "include" / "models" / "flights.yaml"


def test_the_command_prints_json_alone_and_writes_its_files(tmp_path: Path) -> None:
    pq.write_table(history(weeks=6), tmp_path / "rows.parquet")
    spec, work = spec_of(tmp_path / "rows.parquet"), tmp_path / "work"
    file = tmp_path / "turning.yaml"
    file.write_text(yaml.safe_dump(spec.canonical()), encoding="utf-8")
    expected = comparison_of(make_plan(spec, work / "turning", policies=["never"]))

    options = ["--policies", "never", "--work", str(work), "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, ["backtest", str(file), *options])

    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["digest"] == expected.digest
    assert [one["policy"] for one in found["policies"]] == ["never"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.html", "backtest.json", "backtest.png"}
    (legend,) = _strips(expected).legends
    said = [text.get_text() for text in legend.get_texts()]
    assert said[:3] == ["the policy never", "95 % interval over the week's rows", "a retrain that shipped"]


def test_what_is_replayed_so_far_is_compared_at_any_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(history(weeks=8), tmp_path / "rows.parquet")
    plan = make_plan(spec_of(tmp_path / "rows.parquet"), tmp_path / "work", policies=["never", "weekly"])
    assert interim_comparison(plan) is None

    def interrupted(file: Path, text: str) -> None:
        write_text(file, text)
        if file.suffix == ".progress" and text.startswith("3/"):
            raise KeyboardInterrupt

    never = plan.policies[0]
    with monkeypatch.context() as cut:
        cut.setattr("evermodel.pipelines.backtest.replay.write_text", interrupted)
        with pytest.raises(KeyboardInterrupt):
            replay_policy(plan, never)

    found = interim_comparison(plan)
    assert found is not None
    assert [(one.policy, one.weeks) for one in found.standings] == [("never", 2)]
    assert found.facts["end"] == f"{plan.start + timedelta(days=14):%Y-%m-%d}"
    whole = replay_policy(plan, never)
    assert whole.weeks[:2] == found.outcomes[0].weeks
    assert not plan.interim_file(never).exists()
    assert whole.until(f"{plan.start:%Y-%m-%d}").weeks == ()


def test_a_step_is_any_number_of_days_up_to_a_quarter(tmp_path: Path) -> None:
    pq.write_table(history(weeks=6), tmp_path / "rows.parquet")
    spec = spec_of(tmp_path / "rows.parquet")
    plan = make_plan(spec, tmp_path, step=timedelta(days=5))
    assert plan.steps[-1] < plan.end <= plan.steps[-1] + timedelta(days=5)


def test_a_wrong_policy_is_told_before_anything_is_read(tmp_path: Path) -> None:
    file = tmp_path / "turning.yaml"
    file.write_text(yaml.safe_dump(spec_of(tmp_path / "away.parquet").canonical()), encoding="utf-8")
    done = CliRunner().invoke(app, ["backtest", str(file), "--policies", "hourly", "--work", str(tmp_path)])
    assert isinstance(done.exception, SpecError)
    assert "unknown policy hourly" in str(done.exception)


def test_only_the_shipped_example_without_its_variable_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVERMODEL_DATA", raising=False)
    prepared = tmp_path / "data" / "flights.parquet"
    monkeypatch.setattr("evermodel.data.examples.flights.prepare_flights", lambda folder: prepared)
    told: list[str] = []
    own = spec_of(tmp_path / "rows.parquet")
    assert with_example_data(own, tmp_path, told.append) is own
    assert not told

    shipped = with_example_data(load_spec(str(FLIGHTS)), tmp_path, told.append)
    assert shipped.source.told == str(prepared)
    assert len(told) == 1

    monkeypatch.setenv("EVERMODEL_DATA", str(tmp_path))
    kept = load_spec(str(FLIGHTS))
    assert with_example_data(kept, tmp_path, told.append) is kept
