"""What a look goes by: matured labels of heard answers, one loss a request, and the smoke test of a real model."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.simulations.rollout_traffic import begun

from evermodel.data.prediction_log import log_folder
from evermodel.data.sources import read_labels
from evermodel.deployment.rollout.collect import collect_evidence
from evermodel.deployment.rollout.distribution import distribution
from evermodel.deployment.rollout.evidence import Distribution, Smoke
from evermodel.deployment.rollout.losses import losses_by_version
from evermodel.deployment.rollout.smoke import smoke_test
from evermodel.modeling.model_store import LoadedModel
from evermodel.modeling.scoring.loaded_version import Answer
from evermodel.modeling.scoring.request_rows import Inputs, parse_rows
from evermodel.registry.serving_heartbeats import ServingReport, VersionCounts
from evermodel.registry.serving_reports import ServingReports
from evermodel.serving.fallback_rules import inputs_of
from evermodel.serving.prediction_writer import LoggedRequest, ReturnedAnswer, log_table, write_log_file
from evermodel.spec import ModelSpec
from evermodel.spec.rollout import RolloutSpec
from evermodel.spec.window import Window
from support.flights import World

START, END = datetime(2013, 3, 4, tzinfo=UTC), datetime(2013, 3, 9, tzinfo=UTC)


def log(
    world: World,
    rows: pa.Table,
    scores: Any,
    version: str,
    rows_a_request: int = 1,
    returned_to_caller: ReturnedAnswer | None = None,
    subjects: int | None = None,
) -> None:
    """Write one day's answers to the prediction log through the code of serving; the callers name each row's id."""
    spec, inputs = world.spec, inputs_of(world.spec)
    at = START + timedelta(hours=12)
    for place, own in enumerate(rows[spec.id_column].to_pylist()):
        row = {spec.id_column: own, **dict.fromkeys(inputs.names)}
        asked = parse_rows(json.dumps({"row": row}).encode(), inputs, 1, spec.id_column)
        request = f"{version}-{place // rows_a_request}"
        entry = LoggedRequest(
            world.name,
            version,
            request,
            at,
            inputs,
            asked.rows,
            asked.ids(request),
            [scores[place]],
            returned_to_caller=returned_to_caller,
            subject_hash=None if subjects is None else f"{place % subjects:016x}",
        )
        folder = log_folder(spec, world.settings.lake) / f"date={at:%Y-%m-%d}"
        write_log_file(log_table([entry]), folder, entry.source)


@pytest.fixture
def labelled(world: World) -> pa.Table:
    return read_labels(world.spec, Window(START, END)).slice(0, 60)


def test_losses_are_of_heard_answers_whose_label_is_due_and_a_request_counts_once(
    world: World, labelled: pa.Table
) -> None:
    truth = np.asarray(labelled[world.spec.label.column]).astype(float)
    old, new = np.arange(60) < 30, np.arange(60) >= 30
    log(world, labelled.filter(pa.array(old)), np.where(truth[old] == 1, 0.9, 0.1), "1")
    scores = np.where(truth[new] == 1, 0.6, 0.4)
    scores[0] = 1.0 - scores[0]
    log(world, labelled.filter(pa.array(new)), scores, "2", rows_a_request=2)
    log(
        world,
        labelled.slice(0, 5),
        [0.5] * 5,
        "3",
        returned_to_caller=ReturnedAnswer("1", [Answer(0.9, None)]),
    )

    found = losses_by_version(
        world.spec, world.settings.lake, START, END + timedelta(days=30), ("1", "2", "3")
    )

    assert set(found) == {"1", "2"}
    assert (found["1"].rows, found["2"].rows) == (30, 15)
    assert found["1"].mean == pytest.approx(0.01)
    assert found["2"].mean == pytest.approx((14 * 0.16 + (0.36 + 0.16) / 2) / 15)
    early = START + world.spec.label.delay
    assert losses_by_version(world.spec, world.settings.lake, START, early, ("1", "2")) == {}


def test_requests_of_a_subject_and_of_a_value_of_the_cluster_count_together(
    world: World, labelled: pa.Table
) -> None:
    log(world, labelled.slice(0, 30), [0.5] * 30, "1", subjects=10)
    log(world, labelled.slice(30, 30), np.linspace(0.2, 0.8, 30), "2", subjects=6)

    def rows(spec: ModelSpec) -> list[int]:
        found = losses_by_version(spec, world.settings.lake, START, END + timedelta(days=30), ("1", "2"))
        return [found[version].rows for version in ("1", "2")]

    assert rows(world.spec) == [10, 6]
    carrier = world.spec.model_copy(update={"cluster": world.spec.features.categorical[0]})
    assert rows(carrier) == [10, 6], "the callers gave no value of the cluster"


class _Pipeline:
    """Answers one half, or whatever it is told to."""

    def __init__(self, answer: float = 0.5) -> None:
        self.answer = answer

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        if self.answer < 0:
            raise KeyError("carrier")
        return np.full((len(frame), 2), self.answer)


def test_a_smoke_test_asks_the_stored_example_and_logged_rows_and_tells_what_goes_wrong(
    world: World, labelled: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(world, labelled.slice(0, 3), [0.5] * 3, "1")
    example = pd.DataFrame({name: [None] * 2 for name in world.spec.features.names})

    def smoke(answer: float) -> Smoke:
        loaded = LoadedModel(_Pipeline(answer), example, [])
        monkeypatch.setattr("evermodel.modeling.model_store.load_model", lambda *args: loaded)
        return smoke_test(world.spec, world.client, world.settings, "2", "1", START + timedelta(hours=30))

    fine = smoke(0.5)
    assert (fine.problem, fine.rows) == ("", 3), "two rows of the example, one of the newest file of the log"
    assert fine.milliseconds > 0
    assert "returns answers that are not valid" in smoke(np.nan).problem
    assert "raises KeyError" in smoke(-1).problem
    monkeypatch.undo()
    assert (
        "version 2 cannot be loaded"
        in smoke_test(world.spec, world.client, world.settings, "2", "1", START + timedelta(hours=30)).problem
    )


def shadowed(world: World, at: datetime, old: Any, new: Any, **columns: Any) -> None:
    """Write what version 2 answered as the shadow, as serving does."""
    entry = LoggedRequest(
        world.name, columns.get("version", "2"), "r", at, Inputs((), frozenset()), [()] * len(new),
        ids=[f"r-{number}" for number in range(len(new))], scores=list(new), returned_to_caller=ReturnedAnswer(columns.get("heard", "1"), [Answer(score, None) for score in old]),
    )  # fmt: skip
    folder = log_folder(world.spec, world.settings.lake, "shadow") / f"date={at:%Y-%m-%d}"
    write_log_file(log_table([entry]), folder, "shadow")


def test_a_shadow_s_distribution_is_of_its_own_step_s_answers_beside_the_champion_s(world: World) -> None:
    plan = replace(begun("shadow", RolloutSpec()), step_since=START.isoformat())
    hour, draw = timedelta(hours=1), np.random.default_rng(3)
    old = draw.uniform(size=2000)
    alike, tilted = np.clip(old + draw.normal(0, 0.02, 2000), 0, 1), np.sqrt(old)

    def index(now: datetime) -> Distribution:
        return distribution(world.spec, world.settings.lake, plan, now)

    assert index(END) == Distribution(0, 0.0), "nothing is logged"
    shadowed(world, START - hour, old, tilted)
    shadowed(world, START + hour, old, tilted, heard="0")
    shadowed(world, START + hour, old, tilted, version="3")
    shadowed(world, START + hour, old, alike)
    found = index(END)
    assert (found.rows, found.psi < 0.05) == (2000, True)
    shadowed(world, START + 30 * hour, old, tilted)
    both = index(END)
    assert (both.rows, both.psi > found.psi) == (4000, True)
    plan = replace(plan, step_since=(START + 2 * hour).isoformat())
    assert index(END).psi > 0.25, "the shares between deciles became squares"


def test_distributions_are_read_once_the_shadow_s_time_is_over(world: World) -> None:
    plan = replace(begun("shadow", RolloutSpec()), model=world.name, step_since=START.isoformat())
    report = ServingReport(
        world.name, "h-1-a", "test", "h", 1, "", END.isoformat(), plan.champion, revision=plan.revision,
        rollout=plan.run_key, counts={plan.challenger: VersionCounts(shadows=300, agreeing=300)},
    )  # fmt: skip
    ServingReports.of(world.settings).write(report)
    shadowed(world, START + timedelta(hours=1), [0.2, 0.8] * 150, [0.2, 0.8] * 150)

    def seen(after: timedelta) -> Distribution | None:
        return collect_evidence(world.spec, world.client, world.settings, plan, {}, START + after)[
            0
        ].distribution

    assert seen(timedelta(hours=23)) is None
    assert seen(timedelta(hours=24)) == Distribution(300, 0.0)
