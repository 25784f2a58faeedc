from __future__ import annotations

import gc
import os
import signal
import time
from typing import Any

import numpy as np
import pytest

from evermodel.core.errors import SpecError, TrainingError
from evermodel.core.time_limit import run_limited


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_the_child_returns_and_tells_arrives_here_in_order() -> None:
    told: list[Any] = []

    def work(emit: Any) -> tuple[int, int]:
        emit("one")
        emit({"two": 2})
        return os.getpid(), 7

    pid, value = run_limited(work, 30, "trees", told.append)

    assert (value, told) == (7, ["one", {"two": 2}])
    assert pid != os.getpid()
    assert not _alive(pid)


class _Left:
    """Garbage: it refers to itself, and nothing else refers to it."""

    def __init__(self) -> None:
        self.itself, self.maker = self, os.getpid()

    def __del__(self) -> None:
        _COLLECTED.append(self.maker)


_COLLECTED: list[int] = []


def test_the_child_leaves_the_garbage_of_its_parent_alone() -> None:
    def work(emit: Any) -> list[int]:
        gc.collect()
        return _COLLECTED

    gc.disable()
    try:
        _Left()
        assert run_limited(work, 30, "trees") == []
    finally:
        gc.enable()
    gc.collect()
    assert os.getpid() in _COLLECTED


def test_work_that_never_ends_is_killed_with_whatever_it_started() -> None:
    pids: list[int] = []

    def work(emit: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        grandchild = os.fork()
        if grandchild == 0:
            time.sleep(60)
            os._exit(0)
        emit(os.getpid())
        emit(grandchild)
        while True:
            time.sleep(60)

    start = time.monotonic()
    with pytest.raises(TrainingError, match=r"trees exceeded its time limit \(1 s\)[\s\S]*time_limit"):
        run_limited(work, 1, "trees", pids.append)

    assert time.monotonic() - start < 20
    child, grandchild = pids
    assert not _alive(child)
    end = time.monotonic() + 10
    while _alive(grandchild) and time.monotonic() < end and not _zombie(grandchild):
        time.sleep(0.05)
    assert not _alive(grandchild) or _zombie(grandchild)


def _zombie(pid: int) -> bool:
    """Dead, but nobody has asked for its exit code yet."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_what_the_child_throws_is_thrown_here() -> None:
    def wrong_spec(emit: Any) -> None:
        raise SpecError("no such parameter", "correct it")

    def strange(emit: Any) -> None:
        raise KeyError("oops")

    with pytest.raises(SpecError) as told:
        run_limited(wrong_spec, 30, "trees")
    assert (told.value.problem, told.value.advice) == ("no such parameter", "correct it")
    with pytest.raises(TrainingError, match="trees failed: KeyError: 'oops'"):
        run_limited(strange, 30, "trees")


@pytest.mark.parametrize(
    ("end", "told"),
    [(lambda: os.kill(os.getpid(), signal.SIGKILL), "signal 9"), (lambda: os._exit(3), "exit code 3")],
)
def test_a_child_that_dies_is_named_with_its_end(end: Any, told: str) -> None:
    with pytest.raises(TrainingError, match=rf"trees: its process died \({told}\)"):
        run_limited(lambda emit: end(), 30, "trees")


def test_a_child_can_boost_trees_although_this_process_has_done_so_with_threads() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    rows = np.random.default_rng(0).normal(size=(2000, 3))

    def fit(emit: Any) -> np.ndarray[Any, Any]:
        with threadpool_limits(2):
            return HistGradientBoostingRegressor(max_iter=3).fit(rows, rows[:, 0]).predict(rows)

    here = fit(None)
    assert (run_limited(fit, 30, "trees") == here).all()
    assert (fit(None) == here).all()
