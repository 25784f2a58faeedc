"""The loop that every kind of model goes round: two champions, answers, drift, rollback, and the same model again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evermodel.data.dtypes import feature_frame
from evermodel.data.prediction_log import read_log
from evermodel.deployment.rollback import roll_back
from evermodel.modeling import tasks
from evermodel.modeling.model_store import download, load_files
from evermodel.modeling.scoring.day import score_day
from evermodel.modeling.scoring.loaded_version import ServedModel, read_served
from evermodel.modeling.training import fit_final
from evermodel.pipelines.drift import DriftRun
from evermodel.pipelines.reproduce_worker import compare_answers
from evermodel.registry.registry import ModelRegistry
from evermodel.spec.window import last_day, parse_moment
from support.flights import World

FIRST, SECOND, DAY = "2013-03-11", "2013-03-18", "2013-03-20"


class WholeLoop(NamedTuple):
    """What the loop leaves behind: the second version, its files, what it logged, and the verdict on that day."""

    version: str
    served: ServedModel
    files: Path
    log: Any
    verdict: Any


def go_round(world: World, folder: Path, *, day: str = DAY, days: int = 1) -> WholeLoop:
    """Train, gate and register two versions, serve the second as its batch answers, judge its day, reproduce it, roll back.

    Parameters
    ----------
    day, days
        As of when the verdict is, and how many days before it the second version scores.
    """
    first, version = world.champion(FIRST), world.champion(SECOND)
    spec, client, files = world.spec, world.client, folder / "model"
    assert first != version
    download(client, f"models:/{world.name}/{version}", files)
    served = read_served(spec, version, files)

    moment = parse_moment(day)
    for before in range(days):
        score_day(spec, moment - timedelta(days=before), client, world.settings)
    log = read_log(spec, world.settings.lake, last_day(moment)).to_pandas()
    frame = feature_frame(spec, log)
    answers = served.predict(list(frame[list(served.inputs.names)].itertuples(index=False, name=None)))
    assert len(answers) > 20
    np.testing.assert_allclose([answer.score for answer in answers], log["score"], rtol=0, atol=1e-12)
    if spec.task == "multiclass":
        assert [answer.label for answer in answers] == log["predicted"].tolist()
    verdict = DriftRun(spec, moment, client, world.settings).judge()
    assert {one.column for one in verdict.columns} >= set(spec.features.names)

    snapshot, as_of = world.retrain(SECOND).extract().path, parse_moment(SECOND)
    again = fit_final(spec, spec.candidates[0], snapshot=snapshot, as_of=as_of, settings=world.settings)
    stored = load_files(files, spec.own_code).pipeline
    compared = compare_answers(tasks.predict(spec, stored, frame), tasks.predict(spec, again, frame))
    assert (compared["rows"], compared["different_rows"]) == (len(log), 0)

    roll_back(client, world.name, by="test", reason="worse", run_key="rollback/1")
    assert ModelRegistry(client).read(world.name).champion == first
    return WholeLoop(version, served, files, log, verdict)
