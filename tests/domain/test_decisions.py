"""A rule turns probabilities into decisions: its threshold is kept with the version and used wherever it decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evermodel.core.errors import ModelFormatError, SpecError
from evermodel.data.prediction_log import read_log
from evermodel.evaluation.decision import Decision
from evermodel.evaluation.evaluate import evaluate
from evermodel.evaluation.evaluated_model import EvaluatedModel
from evermodel.modeling.model_store import THRESHOLD_FILE, download, threshold_of
from evermodel.modeling.scoring.day import score_day
from evermodel.modeling.scoring.loaded_version import read_served
from evermodel.monitoring.performance.answers import decisions, truth_and_scores
from evermodel.pipelines.drift import DriftRun
from evermodel.registry.lineage import Lineage
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import CHAMPION
from evermodel.serving.fallback import Answered
from evermodel.serving.protocols.predict import PREDICT
from evermodel.spec.window import last_day, parse_moment
from evermodel.stats.bootstrap import paired_gain
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import Metric, MetricParameters, metrics_by_name
from support.flights import FAST, World
from support.gate_models import Model, gate_of, judged, skilled, window
from support.small_spec import small_spec
from support.training_jobs import LINEAR, workbench

COST = {"false_positive": 1.0, "false_negative": 8.0}
PRICED = {"metrics": {"cost": COST}}
NAMED = ("accuracy", "balanced_accuracy", "precision", "recall", "f_beta", "recall_at_precision", "cost")


@pytest.mark.parametrize("metric", NAMED)
def test_a_model_with_skill_passes_by_every_metric_and_a_constant_by_none(metric: str) -> None:
    sections = {"metrics": {"cost": {"false_positive": 1.0, "false_negative": 1.5}, "precision": 0.7}}
    knows = judged(skilled, metric=metric, sections=sections)
    constant = judged(lambda frame: np.full(len(frame), 0.4), metric=metric, sections=sections)

    assert gate_of(knows, f"{metric} against no skill").verdict == "pass"
    assert gate_of(constant, f"{metric} against no skill").verdict == "fail"


def test_each_model_decides_at_its_own_threshold() -> None:
    """The same ranking under two scales of the scores: at its own threshold, each decides as the other."""
    features, labels = window()
    spec = small_spec(gate={"metric": "f_beta", "resamples": 200, "margin": "5%"})

    def decided(threshold: float | None) -> Decision:
        challenger = EvaluatedModel(
            "low", Model(lambda frame: skilled(frame) / 10), "models:/m-1", threshold=threshold
        )
        champion = EvaluatedModel("version 3", Model(skilled), "models:/m/3", version="3", threshold=0.5)
        return evaluate(spec, "key", features, labels, challenger, champion)

    own = decided(0.05)
    assert own.gain == (0.0, 0.0, 0.0)
    assert own.threshold == 0.05
    assert own.margin is not None
    assert own.margin > 0
    assert decided(None).verdict == "worse"  # no score reaches the 0.5 of the spec
    assert Decision.from_json(own.to_json()) == own


def _better_by_chance(metric: Metric, times: int, clustered: bool) -> float:
    """Return how often one of two equal models is said to be better."""
    generator, better = np.random.default_rng(11), 0
    codes = np.repeat(np.arange(20), 15)
    for _ in range(times):
        labels = (generator.random(300) < 0.35).astype(int)
        lean = 0.5 * generator.normal(size=(2, 20)) if clustered else np.zeros((2, 20))
        logits = [1.5 * labels - 0.7 + lean[n][codes] + generator.normal(size=300) for n in range(2)]
        gain = paired_gain(
            metric, labels, *(1 / (1 + np.exp(-one)) for one in logits), confidence=0.9, resamples=200, seed=1,
            clusters=Clusters.of(codes) if clustered else None,
        )  # fmt: skip
        better += gain.low > 0
    return better / times


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "clustered"),
    [*((name, True) for name in NAMED), ("f_beta", False), ("recall_at_precision", False)],
)
def test_of_two_equal_models_none_is_better_more_often_than_stated(name: str, clustered: bool) -> None:
    cost = {**COST, "true_positive": 0.0, "true_negative": 0.0}
    metric = metrics_by_name("binary", MetricParameters(precision=0.6, cost=cost))[name]

    # Stated are 5 %; of 120 times, three standard errors of the simulation are 6 %. `make bench NAME=gate` has more.
    assert _better_by_chance(metric, 120, clustered) <= 0.11


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"rule": "alert_rate", "value": 0.1}, lambda yes, late: yes.mean() <= 0.1),
        ({"rule": "precision"}, lambda yes, late: late[yes].mean() >= 0.9),
        ({"rule": "value", "value": 0.3}, lambda yes, late: True),
        ({"rule": "cost"}, lambda yes, late: yes.mean() > 0.5),  # a miss costs eight times as much
    ],
    ids=lambda value: value["rule"] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("calibrate", [None, "sigmoid"])
def test_a_threshold_is_chosen_on_the_validation_part(
    rule: dict[str, Any], holds: Any, calibrate: Any
) -> None:
    job = workbench(LINEAR, decision=rule, training={"calibrate": calibrate}, noise=0.5, **PRICED)

    fitted = job.fit({})

    assert fitted.threshold is not None
    if rule["rule"] == "value":
        assert fitted.threshold == 0.3
    valid = job.rows.within(job.folds[-1].check)
    model = fitted.pipeline if calibrate else job._fitted({}, job.rows.within(job.folds[-1].fit))
    yes = model.predict_proba(valid.frame)[:, 1] >= fitted.threshold
    assert holds(yes, valid.labels)
    assert {"precision", "recall", "f_beta", "cost"} <= fitted.metrics.keys()


def test_without_a_rule_there_is_no_threshold() -> None:
    fitted = workbench(LINEAR, gate={"metric": "accuracy"}).fit({})

    assert fitted.threshold is None
    assert 0.5 < fitted.metrics["accuracy"] <= 1


@pytest.mark.slow
def test_a_version_decides_alike_in_the_gate_serving_batches_and_monitoring(
    world: World, tmp_path: Path
) -> None:
    world.change(
        candidates=[FAST],
        decision={"rule": "alert_rate", "value": 0.2},
        gate={"metric": "f_beta", "floor": None, "margin": 1.0},
    )
    version = world.champion("2013-03-11", evidence=True)
    spec, client = world.spec, world.client

    found = ModelRegistry(client).at_alias(world.name, CHAMPION)
    assert found is not None
    download(client, f"models:/{world.name}/{version}", tmp_path / "model")
    threshold = threshold_of(tmp_path / "model")
    assert threshold is not None
    assert (Lineage.from_version(found).threshold, 0 < threshold < 1) == (repr(threshold), True)
    served = read_served(spec, version, tmp_path / "model")
    assert served.threshold == threshold

    for day in range(12, 19):
        score_day(spec, parse_moment(f"2013-03-{day}"), client, world.settings)
    log = read_log(spec, world.settings.lake, last_day(parse_moment("2013-03-15")))
    assert log["predicted"].to_pylist() == [
        "1" if score >= threshold else "0" for score in log["score"].to_pylist()
    ]
    rows = list(log.select(list(served.inputs.names)).to_pandas().itertuples(index=False, name=None))
    answers = served.predict(rows)
    assert [answer.predicted for answer in answers] == log["predicted"].to_pylist()
    answered = Answered(answers, served.version, served.inputs, rows, ids=[""] * len(rows))
    content = orjson.loads(PREDICT.answer("m", "r", answered).body)
    assert [one["decision"] for one in content["predictions"]] == [
        int(p) for p in log["predicted"].to_pylist()
    ]

    verdict = DriftRun(spec, parse_moment("2013-03-19"), client, world.settings).judge()
    assert verdict.performance.metric == "f_beta"

    (tmp_path / "model" / THRESHOLD_FILE).write_text('{"format": 1}')
    with pytest.raises(ModelFormatError, match="no readable threshold"):
        threshold_of(tmp_path / "model")


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from(["0", "1", None])), min_size=1, max_size=20))
@settings(max_examples=40, deadline=None)
def test_logged_decisions_count_and_others_are_made_at_the_threshold_of_the_spec(rows: list[Any]) -> None:
    spec = small_spec(gate={"metric": "recall"}, performance={"threshold": 0.4})
    scores, predicted = zip(*rows, strict=True)
    table = pa.table(
        {
            "score": pa.array(scores, pa.float64()),
            "predicted": pa.array(predicted, pa.string()),
            "label": [1] * len(rows),
        }
    )

    wanted = [float(p == "1" if p is not None else s >= 0.4) for s, p in rows]
    assert decisions(spec, table).tolist() == wanted
    assert truth_and_scores(spec, table)[1].tolist() == wanted
    assert decisions(spec, table.drop_columns("predicted")).tolist() == [float(s >= 0.4) for s in scores]


@pytest.mark.parametrize(
    ("sections", "wrong"),
    [
        ({"gate": {"metric": "cost"}}, r"metrics\.cost: the metric cost needs what a false positive"),
        ({"decision": {"rule": "cost"}}, r"metrics\.cost: decision\.rule: cost needs what a false positive"),
        ({"decision": {"rule": "alert_rate"}}, "rule alert_rate needs `value`"),
        ({"decision": {"rule": "f_beta", "value": 0.5}}, "rule f_beta takes no `value`"),
        (
            {"task": "regression", "decision": {"rule": "f_beta"}},
            "decision: a regression task has no threshold",
        ),
        ({"task": "multiclass", "gate": {"metric": "recall"}}, "recall is not a metric of a multiclass task"),
    ],
)
def test_a_section_that_does_not_fit_is_named(sections: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        small_spec(**sections)


def test_the_nearest_metric_is_suggested(world: World) -> None:
    world.change(gate={"metric": "balanced_acuracy"})

    with pytest.raises(SpecError, match="did you mean balanced_accuracy"):
        _ = world.spec
