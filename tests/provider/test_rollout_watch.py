"""What the watch of a rollout outwaits, for how long, and what its log tells the person on call."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from mlflow.exceptions import MlflowException
from pyarrow import ArrowInvalid

from evermodel.core.errors import RolloutError, TransientError
from evermodel.deployment.rollout.service import RolloutEvaluation, RolloutService
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.sensors.rollout import RolloutSensor
from evermodel_provider.triggers.rollout import MOST_MISSED, RolloutTrigger
from support.flights import World, flights_world

STAY = RolloutEvaluation("flights", "2", "1", "canary", "running", 0, 0.1, "stay", "not passed yet", "r/1")
DONE = RolloutEvaluation("flights", "2", "1", "canary", "promoted", 0, 1.0, "promote", "passed", "r/1")
PASSING = [MlflowException("500"), OSError("stale file handle"), ArrowInvalid("half a file")]
Lay = Callable[[Iterable[Any]], None]


class _Store(dict[str, Any]):
    """What Airflow keeps of a task from one look to the next."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Lay out what the next looks find."""
    made: World = flights_world(tmp_path, "http://127.0.0.1:1", "flights")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(TrackingHook, "get_conn", lambda hook: None)

    def prepare(found: Iterable[Any]) -> None:
        left = iter(found)

        def advance(self: RolloutService, now: Any = None) -> RolloutEvaluation:
            one = next(left)
            if isinstance(one, Exception):
                raise one
            return one  # type: ignore[no-any-return]

        monkeypatch.setattr(RolloutService, "advance", advance)

    return prepare


def looks(store: _Store) -> Callable[[], bool]:
    """Return a function that looks once, each time as a task in a process of its own."""

    def look() -> bool:
        with DAG("rollout_flights", schedule=None):
            task = RolloutSensor(task_id="watch", model="flights")
        context: Any = {"task_state_store": store, "dag_run": SimpleNamespace(dag_id="d", run_id="r")}
        return bool(task.poke(context).is_done)

    return look


def test_what_may_pass_is_outwaited_and_a_look_that_works_begins_the_count_anew(lay: Lay) -> None:
    almost = PASSING * 3 + PASSING[:2]
    assert len(almost) == MOST_MISSED - 1
    lay([*almost, STAY, *almost, TransientError("away"), DONE])
    look = looks(_Store())

    assert [look() for _ in range(2 * MOST_MISSED)] == [False] * 2 * MOST_MISSED
    assert look() is True


def test_after_an_hour_the_task_fails_with_words_for_the_person_on_call(
    lay: Lay, capsys: pytest.CaptureFixture[str]
) -> None:
    lay([OSError("stale file handle")] * (MOST_MISSED + 1))
    store = _Store()
    look = looks(store)
    assert not any(look() for _ in range(MOST_MISSED - 1))
    assert "(11 of 12 in a row): OSError: stale file handle" in capsys.readouterr().out

    with pytest.raises(OSError, match="stale file handle"):
        look()

    told = capsys.readouterr().out
    assert "stays in force unmonitored" in told
    assert "DAG stop_rollout_flights" in told
    assert look() is False, "a retry has as many looks again"


@pytest.mark.parametrize(
    ("error", "raised"),
    [(ValueError("a bug"), ValueError), (RolloutError("none is under way"), AirflowFailException)],
)
def test_what_does_not_pass_fails_at_once(lay: Lay, error: Exception, raised: type[Exception]) -> None:
    lay([error])
    with DAG("rollout_flights", schedule=None):
        task = RolloutSensor(task_id="watch", model="flights", deferrable=True)
    with pytest.raises(raised, match=str(error)):
        task.execute({"task_state_store": _Store()})


async def test_the_triggerer_outwaits_the_same(lay: Lay) -> None:
    lay([*(PASSING * 3), STAY, *(PASSING * 3), DONE])
    event = await anext(RolloutTrigger("flights", "mlflow_default", 0.0).run())
    assert event.payload["look"]["state"] == "promoted"


async def test_the_triggerer_fails_after_as_many_looks(lay: Lay, capsys: pytest.CaptureFixture[str]) -> None:
    lay([MlflowException("500")] * MOST_MISSED)
    with pytest.raises(MlflowException):
        await anext(RolloutTrigger("flights", "mlflow_default", 0.0).run())
    assert "stays in force unmonitored" in capsys.readouterr().out
