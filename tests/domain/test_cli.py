"""The command line: answers for people, and one message instead of a traceback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from evermodel import __version__
from evermodel.cli import app, main
from evermodel.cli.local_stack.ports import free_port
from evermodel.core.errors import EvermodelError, NoChampionError, TrackingUnavailableError
from evermodel.spec.model import json_schema
from support.flights import World
from support.paths import PROJECT

SHIPPED = PROJECT / "include" / "models" / "flights.yaml"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path))
    monkeypatch.setenv("EVERMODEL_DATA", str(tmp_path / "data"))
    (tmp_path / "flights.yaml").write_text(SHIPPED.read_text())
    return tmp_path


def broken(folder: Path, name: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(SHIPPED.read_text().replace("name: flights", f"name: {name}").replace("floor:", "flor:"))
    return file


def test_the_schema_goes_to_the_screen_or_to_a_file(tmp_path: Path) -> None:
    shown = run("schema")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout) == json_schema()
    assert run("schema", "--out", str(tmp_path / "made" / "schema.json")).stdout == ""
    assert (tmp_path / "made" / "schema.json").read_text() == shown.stdout


def test_good_specs_are_named_with_their_digest(models: Path) -> None:
    for words in ((), ("flights",), (str(models / "flights.yaml"),)):
        result = run("check", *words)
        assert result.exit_code == 0
        assert re.fullmatch(r"✓ \S+: model flights, digest [0-9a-f]{16}\n", result.stdout)
        assert result.stderr == ""


def test_a_broken_spec_is_told_with_its_line_and_the_others_are_still_checked(models: Path) -> None:
    files = [broken(models, "alpha"), broken(models, "zulu")]
    line = next(n for n, text in enumerate(files[0].read_text().splitlines(), 1) if "flor:" in text)
    result = run("check")
    assert result.exit_code == 1
    for file in files:
        assert f"✗ {file}: line {line}: gate.flor: unknown field; did you mean floor?" in result.stderr
    assert "What to do" in result.stderr
    assert result.stdout.count("✓") == 1
    assert "Traceback" not in result.output


def test_a_name_that_no_file_has_is_told_with_the_nearest(models: Path) -> None:
    result = run("check", "fligths")
    assert result.exit_code == 1
    assert "did you mean flights?" in result.stderr


def test_no_spec_at_all_is_a_mistake_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path))
    result = run("check")
    assert result.exit_code == 1
    assert isinstance(result.exception, EvermodelError)
    assert "no spec in" in result.exception.problem


@pytest.mark.parametrize(
    ("words", "wanted"), [(["check", "zzz"], "zzz.yaml"), (["status", "zzz"], "Error: ")]
)
def test_a_known_error_is_one_message_and_exit_1(
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    wanted: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(sys, "argv", ["evermodel", *words])
    with pytest.raises(SystemExit) as caught:
        main()
    told = capsys.readouterr()
    assert caught.value.code == 1
    assert wanted in told.err
    assert "What to do: " in told.err
    assert "Traceback" not in told.err + told.out


def test_a_model_without_a_champion_has_an_exit_code_of_its_own(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["evermodel", "score", world.name])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 4
    assert "has no champion yet" in capsys.readouterr().err


def test_a_server_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    result = run("status", "flights")
    assert isinstance(result.exception, TrackingUnavailableError)
    assert f"the MLflow server at {address} does not answer" in result.exception.problem


def test_status_tells_champion_lineage_and_history(world: World) -> None:
    before = run("status", world.name)
    assert isinstance(before.exception, NoChampionError)
    version = world.champion("2013-03-11")
    lines = run("status", world.name).stdout.splitlines()
    assert lines[0] == f"{world.name}: version {version} is champion"
    assert re.fullmatch(r"  roc_auc 0\.\d{4} at promotion", lines[1])
    assert lines[2] == "  trained on 2013-01-06 to 2013-03-03"
    assert re.fullmatch(
        rf"  snapshot snapshots/{world.name}/\w{{16}}\.parquet \(DVC md5 \w{{32}}\)", lines[3]
    )
    assert lines[4] == "  no serving process reports"
    assert re.fullmatch(rf"  \S+  version {version} \(first\) by test: test", lines[5])
    told = json.loads(run("status", world.name, "--json").stdout)
    assert told["champion"] == version
    assert [(p["version"], p["previous"], p["by"]) for p in told["history"]] == [(version, None, "test")]


def test_the_version_and_the_commands_are_told() -> None:
    assert run("--version").stdout == f"{__version__}\n"
    help_text = run("--help").output
    assert all(
        command in help_text
        for command in ("schema", "check", "serve", "status", "runs", "reproduce", "demo")
    )
    assert run("chekc").exit_code == 2


def test_help_imports_nothing_heavy() -> None:
    heavy = (
        "airflow",
        "fastapi",
        "httpx",
        "jinja2",
        "mlflow",
        "numpy",
        "pandas",
        "pyarrow",
        "pydantic",
        "sklearn",
    )
    code = f"import sys, evermodel.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    "words", ["train", "score", "drift", "promote", "rollback", "runs", "reproduce", "check"]
)
def test_the_shell_completes_models(models: Path, words: str) -> None:
    (models / "churn.yaml").touch()
    (models / "flights.schema.yaml").touch()
    for typed, wanted in (("", {"churn", "flights"}), ("fl", {"flights"}), ("x", set())):
        environment = {
            "_EVERMODEL_COMPLETE": "complete_bash",
            "COMP_WORDS": f"evermodel {words} {typed}",
            "COMP_CWORD": "2",
        }
        shown = CliRunner().invoke(app, [], env=environment, prog_name="evermodel").stdout
        assert {line for line in shown.split() if line} == wanted, words


def test_json_of_check_names_every_mistake(models: Path) -> None:
    broken(models, "alpha")
    result = run("check", "--json")
    told = {line["spec"]: line for line in json.loads(result.stdout)}
    assert (result.exit_code, result.stderr) == (1, "")
    assert told[str(models / "flights.yaml")]["ok"] is True
    (mistake,) = told[str(models / "alpha.yaml")]["mistakes"]
    assert "gate.flor: unknown field" in mistake


def test_an_error_that_nobody_foresaw_is_one_message_too(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["evermodel", "check"])
    monkeypatch.setattr("evermodel.spec.load_spec", lambda *_: 1 // 0)
    monkeypatch.delenv("EVERMODEL_DEBUG", raising=False)
    with pytest.raises(SystemExit) as caught:
        main()
    told = capsys.readouterr().err
    assert caught.value.code == 1
    assert "Error: ZeroDivisionError: integer division or modulo by zero" in told
    assert "Where: specs.py, line" in told
    assert "Traceback" not in told
    monkeypatch.setenv("EVERMODEL_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main()


def test_an_approval_without_approvers_is_found_by_check(models: Path) -> None:
    spec = models / "flights.yaml"
    spec.write_text(
        re.sub(r"^approval:.*\n", "", spec.read_text(), flags=re.MULTILINE) + "approval: manual\n"
    )
    found = run("check", "flights", "--files-only", "--json")
    (told,) = json.loads(found.stdout)
    assert found.exit_code == 1
    assert told["mistakes"] == ["model flights: the spec says `approval: manual` and names no approvers"]
    assert told["advice"] == "add `approvers: [login]` to the spec"


def test_only_an_approver_trains_with_a_yes(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = models / "flights.yaml"
    approval = "approval: manual\napprovers: [ml_lead]\n"
    spec.write_text(re.sub(r"^approval:.*\n", "", spec.read_text(), flags=re.MULTILINE) + approval)
    monkeypatch.setattr("evermodel.cli.train.os_user", lambda: "eve")
    refused = run("train", "flights", "--approve", "--json").exception
    assert "eve may not approve a version: the spec names ml_lead" in str(refused)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_iter: 120", "max_iter: many", "candidate boosted_trees: The 'max_iter' parameter"),
        ("max_iter: 120", "max_itre: 120", "has no parameter max_itre"),
        ("HistGradientBoostingClassifier", "HistGradientBosting", "cannot be imported"),
        ('"#ml-alerts"', '"#ML Alerts"', "'#ML Alerts' is no channel of Slack"),
        ("owner: data-science", "owner: ${NOBODY_SETS_THIS}", "NOBODY_SETS_THIS is not set"),
    ],
)
def test_check_finds_what_would_fail_later(old: str, new: str, said: str, models: Path) -> None:
    text = SHIPPED.read_text()
    assert old in text
    (models / "flights.yaml").write_text(text.replace(old, new))
    result = run("check", "flights")
    assert result.exit_code == 1
    assert said in result.stderr


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 6 * *", "this one has 4"),
        ("0 25 * * 1", "the hour `25` is not one of 0 to 23"),
        ("0 6 * * MOO", "the weekday `MOO` is not one of 0 (Sunday) to 7"),
    ],
)
def test_a_wrong_cron_expression_is_told_with_the_reason(cron: str, said: str) -> None:
    from evermodel.spec.parts import check_cron

    with pytest.raises(ValueError, match=re.escape(said)):
        check_cron(cron)


def test_status_without_a_model_tells_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_MODELS", str(tmp_path))
    result = run("status")
    assert result.exit_code == 0
    assert "evermodel init TABLE --label COLUMN" in result.stdout


def test_a_missing_file_is_told_without_its_number(models: Path) -> None:
    assert "Errno" not in str(run("check", "nowhere.yaml").stderr)
