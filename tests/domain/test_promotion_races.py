"""Two processes that change one model's champion end in one of the two orders, also when one is killed on its way."""

from __future__ import annotations

from support.promotion_races import Races


def test_at_once_and_killed_at_random_instants_nothing_is_mixed(mlflow_server: str) -> None:
    races = Races(mlflow_server, seed=11)
    for _ in range(4):
        races.at_once()
        races.killed()

    assert races.wrong == []
    assert races.counts["conflict and done"] >= 2
