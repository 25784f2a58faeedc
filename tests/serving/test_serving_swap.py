from __future__ import annotations

import threading
import time

import httpx
import pytest
from serving_world import World, request_rows, running, wait_for_version

from evermodel.serving.app import create_app


def test_promotions_under_load_lose_and_mix_nothing(world: World) -> None:
    first = world.publish(1)
    later = [world.publish(seed, promote=False, candidate=seed % 2) for seed in range(2, 7)]
    failures: list[str] = []
    answers: list[tuple[int, str, list[float]]] = []
    done = threading.Event()

    def call(client: httpx.Client, number: int) -> None:
        rows = request_rows(number + 1, number)
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=30) as mine:
            while not done.is_set():
                answer = mine.post("/predict", json={"rows": rows})
                if answer.status_code != 200:
                    failures.append(answer.text)
                    continue
                body = answer.json()
                answers.append((number, body["version"], [p["score"] for p in body["predictions"]]))

    with running(create_app([world.name], world.settings, poll_seconds=0.05)) as client:
        wait_for_version(client, first.version)
        threads = [threading.Thread(target=call, args=(client, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for made in later:
            time.sleep(0.3)
            world.promote(made.version)
            wait_for_version(client, made.version)
        time.sleep(0.3)
        done.set()
        for thread in threads:
            thread.join()
        metrics = client.get("/metrics").text
    assert failures == []
    assert {version for _, version, _ in answers} == set(world.published)
    expected = {
        (number, version): made.scores(request_rows(number + 1, number))
        for number in range(4)
        for version, made in world.published.items()
    }
    for number, version, scores in answers:
        assert scores == pytest.approx(expected[number, version], abs=1e-9)
    assert f'evermodel_swaps_total{{model="{world.name}"}} 6.0' in metrics
    assert metrics.count("evermodel_model_info{") == 1


def test_the_versions_of_the_load_test_differ(world: World) -> None:
    one, two = world.publish(1), world.publish(2)
    rows = request_rows(4, 1)
    assert one.scores(rows) != pytest.approx(two.scores(rows), abs=0.01)


def test_a_rollback_is_followed(world: World) -> None:
    one, two = world.publish(1), world.publish(2)
    with running(create_app([world.name], world.settings, poll_seconds=0.05)) as client:
        wait_for_version(client, two.version)
        world.promote(one.version)
        wait_for_version(client, one.version)
        rows = request_rows(3, 1)
        body = client.post("/predict", json={"rows": rows}).json()
    assert [p["score"] for p in body["predictions"]] == pytest.approx(one.scores(rows), abs=1e-12)
