"""Model specs: the shipped one is right, and every mistake is told with file, line, field and what is allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from evermodel.core.errors import SpecError
from evermodel.core.settings import Settings
from evermodel.spec import load_spec, load_specs
from evermodel.spec.model import json_schema
from support.paths import PROJECT

SHIPPED = PROJECT / "include" / "models" / "flights.yaml"
TEXT = SHIPPED.read_text(encoding="utf-8")
SCHEMA = json_schema()


def write(folder: Path, text: str, name: str = "flights.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def changed(old: str, new: str) -> str:
    assert TEXT.count(old) == 1
    return TEXT.replace(old, new)


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


def problem_of(file: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_spec(file)
    assert caught.value.advice
    assert str(file) in caught.value.problem
    problem: str = caught.value.problem
    return problem


def test_the_shipped_spec_loads_with_what_it_declares() -> None:
    spec = load_spec(SHIPPED)
    assert (spec.name, spec.label.column, spec.label.delay.days) == ("flights", "late", 1)
    assert spec.split.total.days == 63
    assert [c.name for c in spec.candidates] == ["boosted_trees", "logistic"]
    assert spec.columns[:3] == ["flight_id", "scheduled_at", "hour"]
    assert spec.columns[-1] == "late"
    assert spec.watched == spec.features.names
    assert len(set(spec.columns)) == len(spec.columns) == len(spec.features.names) + 3


# Each row: what is written instead of what, the text whose line is named, and what the message must say.
MISTAKES = {
    "unknown field": ("approval: auto", "aproval: auto", "aproval", ["aproval: ", "did you mean approval?", "candidates"]),
    "unknown nested field": ("floor: 0.6", "flor: 0.6", "flor", ["gate.flor: ", "did you mean floor?", "margin"]),
    "unknown field two levels down": (
        "cooldown: 7d", "cool_down: 7d", "cool_down", ["retrain.cool_down: ", "did you mean cooldown?", "allowed: budget, cooldown, when, windows"],
    ),
    "unknown field in a list": (
        "params: {C: 0.1", "parms: {C: 0.1", "parms", ["candidates.1.parms: ", "did you mean params?", "estimator, name, params"],
    ),
    "nothing near": ("approval: auto", "zzz: auto", "zzz", ["zzz: unknown field (allowed: alerts, "]),
    "wrong type": ("min_rows: 1000", "min_rows: many", "min_rows", ["validation.min_rows: ", "valid integer", "'many'"]),
    "not a choice": ("metric: roc_auc", "metric: auc", "metric: auc", ["gate.metric: ", "'roc_auc'", "'brier'", "found 'auc'"]),
    "out of bounds": ("max_null_share: 0.5", "max_null_share: 5", "max_null_share", ["validation.max_null_share: ", "less than or equal to 1"]),
    "not a number": ("floor: 0.6", "floor: .nan", "floor", ["gate.floor: ", "finite"]),
    "missing field": ("id_column: flight_id\n", "", "", ["id_column: this field is required"]),
    "missing nested field": ("  column: late\n", "", "label:", ["label.column: this field is required"]),
    "duplicate key": ("approval: auto", "approval: auto\napproval: manual", "approval: manual", ["approval is duplicated (first on line "]),
    "nested duplicate": ("  floor: 0.6", "  floor: 0.6\n  floor: 0.7", "floor: 0.7", ["gate.floor is duplicated (first on line "]),
    "bad span": ("train: 7w", "train: 7 weeks", "train: 7", ["split.train: ", "12h, 7d or 8w", "'7 weeks'"]),
    "span without unit": ("delay: 1d", "delay: 1", "delay: 1", ["label.delay: ", "12h, 7d or 8w", "found 1"]),
    "endless span": ("train: 7w", f"train: {'9' * 30}w", "train: 9", ["split.train: ", "at most 100 years"]),
    "span past the calendar": ("train: 7w", "train: 5300w", "train: 5300w", ["split.train: ", "at most 100 years"]),
    "span of nothing": ("train: 7w", "train: 0d", "train: 0d", ["split.train: must be longer than zero"]),
    "leak as feature": ("[hour,", "[dep_delay, hour,", "features:", ["features: dep_delay is also listed under leaks"]),
    "label as feature": ("[hour,", "[late, hour,", "features:", ["features: late is the label column"]),
    "id as feature": ("[hour,", "[flight_id, hour,", "features:", ["features: flight_id is the id column"]),
    "reserved column": ("[hour,", "[score, hour,", "features:", ["features: score is a column of the prediction log"]),
    "feature twice": ("[carrier,", "[hour, carrier,", "features:", ["features: hour is listed twice"]),
    "range of no column": ("distance: [0, null]", "distanze: [0, null]", "ranges:", ["validation.ranges: distanze is not a column"]),
    "drift of no column": ("window: 7d", "window: 7d\n  columns: [carier]", "columns: [carier]", ["drift.columns: carier is not a column"]),
    "bands upside down": ("warning: 0.1", "warning: 0.3", "psi:", ["drift.psi: warning must not be above critical"]),
    "candidate twice": ("name: logistic", "name: boosted_trees", "candidates:", ["candidates: duplicate name boosted_trees"]),
    "other name than the file": ("name: flights", "name: fligths", "name: fligths", ["name: 'fligths' differs from the file's name"]),
    "a date as parameter": ("{C: 0.1, max_iter: 1000}", "{C: 2013-02-01}", "C: 2013", ["candidates.1.params.C", "valid JSON"]),
    "YAML syntax": ("approval: auto", "approval: [auto\nafter: 1", "after: 1", ["column 6", "expected ',' or ']', but got ':'"]),
    "a date that is none": ("owner: data-science", "owner: 2013-02-31", "owner: 2013", ["column 8", "day is out of range"]),
    "a tag that runs code": ("owner: data-science", "owner: !!python/name:os.system", "owner: !!", ["could not determine a constructor"]),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "at", "says"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line_and_what_is_allowed(
    tmp_path: Path, old: str, new: str, at: str, says: list[str]
) -> None:
    text = changed(old, new)
    problem = problem_of(write(tmp_path, text))
    line = line_of(text, at)
    assert re.search(rf"flights\.yaml: line {line}[:,]", problem)
    assert [part for part in says if part not in problem] == []


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    text = TEXT.replace("floor: 0.6", "flor: 0.6").replace("train: 7w", "train: seven")
    problem = problem_of(write(tmp_path, text))
    assert f"line {line_of(text, 'train: seven')}: split.train" in problem
    assert f"line {line_of(text, 'flor')}: gate.flor" in problem
    text = TEXT.replace("[hour,", "[late, score, hour,").replace("test: 1w", "test: 0w")
    features, test = line_of(text, "features:"), line_of(text, "test: 0w")
    lines = [part.split(": ")[1] for part in problem_of(write(tmp_path, text)).splitlines()]
    assert lines == [f"line {features}", f"line {features}", f"line {test}"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "a spec must be a mapping of fields"),
        (b"# nothing yet\n", "a spec must be a mapping of fields"),
        (b"- name: flights\n", "a spec must be a mapping of fields"),
        (b"flights", "a spec must be a mapping of fields"),
        (TEXT.encode("utf-16"), "is not UTF-8"),
        ("name: Zürich\n".encode("latin-1"), "is not UTF-8"),
        (b"name: \x00\n", "invalid YAML"),
        (b"a: " + b"[" * 3000, "nested too deeply"),
        (b"a: &a {b: *a}\n", "an anchor contains itself"),
        (TEXT.encode() + b"---\nname: other\n", "another document"),
    ],
    ids=["empty", "comment", "list", "scalar", "utf-16", "latin-1", "nul", "deep", "circle", "two documents"],
)
def test_a_file_that_is_no_spec_at_all_is_a_spec_error(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "flights.yaml"
    file.write_bytes(content)
    assert says in problem_of(file)


def test_a_missing_file_names_the_nearest_model_or_all_of_them(tmp_path: Path) -> None:
    settings = Settings.from_environment({"EVERMODEL_MODELS": str(tmp_path)})
    with pytest.raises(SpecError, match="contains no spec"):
        load_spec("flights", settings)
    write(tmp_path, TEXT)
    with pytest.raises(SpecError, match=r"did you mean flights\?"):
        load_spec("fligths", settings)
    with pytest.raises(SpecError, match="known models: flights"):
        load_spec("zzz", settings)
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path)
    assert load_spec("flights", settings) == load_spec(str(tmp_path / "flights.yaml"))


def test_environment_variables_are_filled_in_or_take_their_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = changed("owner: data-science", "owner: ${TEAM:-nobody} of ${HOUSE}").replace(
        "params: {C: 0.1, max_iter: 1000}", 'params: {solver: "${SOLVER:-}"}'
    )
    file = write(tmp_path, text)
    for name in ("TEAM", "HOUSE", "SOLVER"):
        monkeypatch.delenv(name, raising=False)
    unset = load_spec(file)
    monkeypatch.setenv("TEAM", "science: {")
    monkeypatch.setenv("HOUSE", "${TEAM}")
    monkeypatch.setenv("SOLVER", "saga")
    assert (unset.owner, unset.candidates[1].params) == ("nobody of ${HOUSE}", {"solver": ""})
    # A value is text: it is neither read as YAML nor filled in again.
    assert load_spec(file).owner == "science: { of ${TEAM}"
    assert load_spec(file).candidates[1].params == {"solver": "saga"}


def test_a_broken_spec_never_hides_another(tmp_path: Path) -> None:
    for name in ("a", "c"):
        write(tmp_path, changed("name: flights", f"name: {name}"), f"{name}.yaml")
    write(tmp_path, "name: [", "b.yaml")
    write(tmp_path, TEXT, "d.yaml")
    (tmp_path / "e.yaml").mkdir()
    write(tmp_path, "not a spec", "notes.txt")
    settings = Settings.from_environment({"EVERMODEL_MODELS": str(tmp_path)})
    specs, problems = load_specs(settings=settings)
    assert [spec.name for spec in specs] == ["a", "c"]
    assert [problem.path.name for problem in problems] == ["b.yaml", "d.yaml", "e.yaml"]
    assert all(problem.path.name in problem.error.problem for problem in problems)
    specs, problems = load_specs("c", settings)
    assert ([spec.name for spec in specs], problems) == (["c"], [])
    assert load_specs(settings=Settings.from_environment({"EVERMODEL_MODELS": "/nowhere"})) == ([], [])


def test_the_digest_follows_the_meaning_not_the_writing(tmp_path: Path) -> None:
    digest = load_spec(SHIPPED).digest
    data = yaml.safe_load(TEXT)
    backwards = yaml.safe_dump(dict(reversed(data.items())), sort_keys=False)
    assert len(digest) == 16
    assert load_spec(write(tmp_path, backwards)).digest == digest
    assert load_spec(write(tmp_path, changed("delay: 1d", "delay: 24h"))).digest == digest
    assert load_spec(write(tmp_path, changed("approval: auto", "seed: 0"))).digest == digest
    others = [
        changed("max_iter: 120", "max_iter: 121"),
        changed("margin: 0.01", "margin: 0.02"),
        changed("[carrier, origin, dest]", "[origin, carrier, dest]"),
        changed("seats]", "seats, tailnum]"),
    ]
    assert len({digest, *(load_spec(write(tmp_path, text)).digest for text in others)}) == 5


def test_the_canonical_form_is_itself_a_spec(tmp_path: Path) -> None:
    spec = load_spec(SHIPPED)
    again = load_spec(write(tmp_path, yaml.safe_dump(spec.canonical())))
    assert (again, again.digest) == (spec, spec.digest)


def test_the_json_schema_accepts_the_shipped_spec_and_refuses_what_the_loader_refuses() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    data = yaml.safe_load(TEXT)
    assert list(validator.iter_errors(data)) == []
    for wrong in (
        data | {"aproval": "auto"},
        data | {"gate": {"flor": 1}},
        data | {"approval": "maybe"},
        data | {"split": {"train": "7 weeks"}},
        {key: value for key, value in data.items() if key != "label"},
    ):
        assert list(validator.iter_errors(wrong)) != []


def test_a_spec_cannot_be_changed() -> None:
    spec = load_spec(SHIPPED)
    with pytest.raises(ValidationError, match="frozen"):
        spec.gate.margin = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schedule": {"score": "every day"}}, "schedule.score: a cron expression has five parts"),
        ({"time_column": "flight_id"}, "label.column: flight_id has two roles"),
        ({"features": {"numeric": ["scheduled_at"]}}, "features: scheduled_at is the time column"),
        (
            {"validation": {"ranges": {"hour": [23, 0]}}},
            "validation.ranges: hour: the lowest value 23.0 is above",
        ),
    ],
)
def test_what_would_break_later_is_refused_at_once(
    change: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    data = yaml.safe_load(TEXT)
    for name, value in change.items():
        data[name] = {**data[name], **value} if isinstance(value, dict) else value
    with pytest.raises(SpecError, match=re.escape(problem)):
        load_spec(write(tmp_path, yaml.safe_dump(data)))
