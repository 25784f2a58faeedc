from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from evermodel.modeling.scoring.batcher import Batcher
from evermodel.modeling.scoring.request_rows import Row


class Scorer:
    """Stands where a loaded version stands; its first call waits until it is let go."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.busy, self.go = threading.Event(), threading.Event()

    def predict(self, rows: Sequence[Row]) -> list[float]:
        self.calls.append(len(rows))
        self.busy.set()
        assert self.go.wait(10)
        if any(row == ("bad",) for row in rows):
            raise ValueError("a bad row")
        return [float(row[0] or 0) for row in rows]


def blocked(batcher: Batcher, scorer: Any) -> Any:
    """Let one request occupy the thread, so that the next ones wait together."""
    first = batcher.submit(scorer, [(0.0,)])
    assert scorer.busy.wait(10)
    return first


def test_waiting_requests_share_a_call_and_get_their_own_scores() -> None:
    batcher, scorer = Batcher(most_rows=4), Scorer()
    batcher.start()
    first = blocked(batcher, scorer)
    later: Any = [batcher.submit(scorer, [(float(n),), (n + 0.5,)]) for n in range(1, 4)]  # type: ignore[arg-type]
    scorer.go.set()
    assert first.result(10) == [0.0]
    assert [call.result(10) for call in later] == [[1.0, 1.5], [2.0, 2.5], [3.0, 3.5]]
    assert scorer.calls == [1, 4, 2]
    batcher.stop()


def test_versions_are_never_mixed() -> None:
    batcher, one, two = Batcher(), Scorer(), Scorer()
    two.go.set()
    batcher.start()
    blocked(batcher, one)
    waiting: Any = [batcher.submit(scorer, [(1.0,)]) for scorer in (one, two, one, two)]  # type: ignore[arg-type]
    one.go.set()
    assert [call.result(10) for call in waiting] == [[1.0]] * 4
    assert (one.calls, two.calls) == ([1, 2], [2])
    batcher.stop()


def test_one_bad_request_does_not_fail_its_neighbours() -> None:
    batcher, scorer = Batcher(), Scorer()
    batcher.start()
    blocked(batcher, scorer)
    good: Any = batcher.submit(scorer, [(1.0,)])  # type: ignore[arg-type]
    bad: Any = batcher.submit(scorer, [("bad",)])  # type: ignore[arg-type]
    scorer.go.set()
    assert good.result(10) == [1.0]
    with pytest.raises(ValueError, match="a bad row"):
        bad.result(10)
    batcher.stop()


def test_a_caller_who_went_away_costs_nothing_and_closing_answers_the_rest() -> None:
    batcher, scorer = Batcher(), Scorer()
    batcher.start()
    blocked(batcher, scorer)
    gone: Any = batcher.submit(scorer, [(1.0,)])  # type: ignore[arg-type]
    kept: Any = batcher.submit(scorer, [(2.0,)])  # type: ignore[arg-type]
    assert gone.cancel()
    scorer.go.set()
    batcher.stop()
    assert kept.result(0) == [2.0]
    assert scorer.calls == [1, 1]
    with pytest.raises(RuntimeError, match="has stopped"):
        batcher.submit(scorer, [(3.0,)])  # type: ignore[arg-type]
