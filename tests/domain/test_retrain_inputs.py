"""The steps of a retrain work on what this retrain recorded, whatever the outputs of earlier steps say by now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from evermodel.core.errors import ForeignInputError
from evermodel.data.snapshots.snapshot import Snapshot
from evermodel.modeling.training import TrainedCandidate
from evermodel.pipelines.retrain import Retrain
from support.flights import FAST, World


@pytest.fixture
def model(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("evermodel.pipelines.evaluate.record_evidence", lambda *args: None)
    world.change(candidates=[FAST])
    return world


def extracted(world: World, day: str) -> tuple[Retrain, Snapshot]:
    retrain = world.retrain(day)
    return retrain, retrain.extract()


@pytest.mark.parametrize(
    "change",
    [
        lambda own, other: other,
        lambda own, other: replace(own, path=other.path),
        lambda own, other: replace(own, md5=other.md5),
        lambda own, other: replace(own, start=other.start),
        lambda own, other: replace(own, path=f"../{own.path}"),
    ],
    ids=["another", "path", "md5", "window", "outside"],
)
def test_another_snapshot_is_not_validated(
    model: World, change: Callable[[Snapshot, Snapshot], Snapshot]
) -> None:
    _, other = extracted(model, "2013-03-11")
    retrain, own = extracted(model, "2013-03-25")

    with pytest.raises(ForeignInputError, match=r"evermodel\.snapshot_extracted is Snapshot"):
        retrain.validate(change(own, other))
    assert "evermodel.validation" not in retrain.mlflow_run().data.tags
    assert retrain.validate(own).snapshot == own


def test_neither_another_snapshot_nor_another_model_is_evaluated(model: World) -> None:
    earlier, other = extracted(model, "2013-03-11")
    (theirs,) = model.train(earlier, other.path)
    retrain, own = extracted(model, "2013-03-25")
    (mine,) = model.train(retrain, own.path)

    def refused(path: str, trained: TrainedCandidate, **other: Any) -> str:
        with pytest.raises(ForeignInputError) as caught:
            replace(retrain, **other).evaluate(path, [trained], None)
        return caught.value.problem

    assert f"evermodel.snapshot is {own.path}" in refused(other.path, mine)
    for trained in (
        theirs,
        replace(mine, model_uri=theirs.model_uri),
        replace(mine, mlflow_run=theirs.mlflow_run),
        replace(mine, validation=1.0),
        replace(mine, candidate="other"),
    ):
        assert f"evermodel.trained.{trained.candidate} is" in refused(own.path, trained)
    # A model that was fitted as of a later day would be tested on rows that it has seen.
    assert "evermodel.trained" in refused(own.path, mine, as_of=retrain.as_of - timedelta(days=7))
    (blind,) = model.train(replace(retrain, run_key="another run"), own.path)
    assert "evermodel.trained" in refused(own.path, blind)

    assert retrain.evaluate(own.path, [mine], None).model_uri == mine.model_uri


def test_a_version_names_the_snapshot_of_its_own_retrain(model: World) -> None:
    _, other = extracted(model, "2013-03-11")
    retrain, own = extracted(model, "2013-03-25")
    retrain.evaluate(own.path, model.train(retrain, own.path), "test")

    for named in (other, replace(own, path=other.path), replace(own, md5=other.md5)):
        with pytest.raises(ForeignInputError, match=r"evermodel\.snapshot"):
            retrain.register(named.to_json())
    assert model.client.search_model_versions(f"name = '{model.name}'") == []

    tags = retrain.register(own.to_json()).tags
    assert (tags["evermodel.snapshot"], tags["evermodel.snapshot_md5"]) == (own.path, own.md5)


def test_a_step_that_runs_again_goes_on_with_its_last_output(model: World) -> None:
    retrain, own = extracted(model, "2013-03-25")
    (first,) = model.train(retrain, own.path)
    assert model.train(retrain, own.path) == [first]
    model.change(candidates=[{**FAST, "params": {"C": 10.0}}])
    retrain = replace(retrain, spec=model.spec)
    (again,) = model.train(retrain, own.path)

    assert first.model_uri != again.model_uri
    with pytest.raises(ForeignInputError):
        retrain.evaluate(own.path, [first], None)
    assert retrain.validate(retrain.extract()).snapshot == own
    assert retrain.evaluate(own.path, [again], None).model_uri == again.model_uri
