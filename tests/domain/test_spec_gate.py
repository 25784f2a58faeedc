from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from evermodel.core.errors import SpecError
from evermodel.spec import load_spec
from support.small_spec import small_spec

EVERYTHING: dict[str, Any] = {
    "secondary": [{"metric": "brier", "margin": 0.001, "floor": 0.2}],
    "slices": [{"column": "colour", "values": ["red", 7], "min_rows": 30}, {"column": "age"}],
    "fairness": [{"column": "colour", "measure": "equalized_odds_difference", "max": 0.1}],
    "behaviour": {
        "missing": True,
        "unseen": True,
        "output": [0.01, None],
        "invariance": [{"column": "colour", "values": ["red"], "max_change": 0.1}],
        "monotonic": [{"column": "amount", "direction": "decreasing", "share": 0.9}],
    },
    "max_latency_p99_ms": 50,
    "min_rows_per_second": 1000,
}


def test_every_gate_can_be_declared_and_survives_the_canonical_form() -> None:
    spec = small_spec(gate=EVERYTHING)

    assert type(spec).model_validate(spec.canonical()) == spec
    assert spec.gate.slices[0].values == ("red", 7)
    assert spec.gate.slices[1].values is None


@pytest.mark.parametrize(
    ("section", "checks", "reason"),
    [
        ("slices", [{"column": "size"}], "gate.slices.0.column: size is not a feature of this model"),
        (
            "fairness",
            [{**EVERYTHING["fairness"][0], "column": "x"}],
            "gate.fairness.0.column: x is not a feature",
        ),
        ("slices", [{"column": "age", "values": ["old"]}], "gate.slices.0.values: 'old' is not a number"),
        ("secondary", [{"metric": "rmse"}], "gate.secondary.0.metric: rmse is not a metric of a binary task"),
        ("secondary", [{"metric": "roc_auc"}], "gate.secondary.0.metric: roc_auc is listed twice"),
        (
            "behaviour",
            {"monotonic": [{"column": "colour"}]},
            "gate.behaviour.monotonic.0.column: colour is not a number",
        ),
        (
            "behaviour",
            {"invariance": [{"column": "size", "values": [1]}]},
            "gate.behaviour.invariance.0.column: size is not a feature",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused(section: str, checks: Any, reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        small_spec(gate={section: checks})

    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("task", "section", "checks", "reason"),
    [
        (
            "regression",
            "fairness",
            EVERYTHING["fairness"],
            "gate.fairness: fairness gates need a binary task, not regression",
        ),
        (
            "multiclass",
            "behaviour",
            {"monotonic": [{"column": "age"}]},
            "a multiclass answer has no direction",
        ),
    ],
)
def test_what_does_not_fit_the_task_is_refused(task: str, section: str, checks: Any, reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        small_spec(task=task, gate={section: checks})

    assert reason in str(caught.value)


def test_a_mistake_in_a_list_is_told_with_its_own_line(tmp_path: Path) -> None:
    data = small_spec().canonical() | {"gate": {"slices": [{"column": "age"}, {"column": "size"}]}}
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    line = file.read_text().splitlines().index("  - column: size") + 1

    with pytest.raises(SpecError, match=f"line {line}: gate.slices.1.column: size is not a feature"):
        load_spec(file)
