from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from evermodel.deployment.rollback import roll_back
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.traffic_plan import split
from evermodel.serving.app import create_app
from evermodel.serving.metrics import Metrics
from evermodel.serving.preparation import PreparingSource
from evermodel.serving.reconciler import Reconciler
from support.serving_models import (
    Published,
    World,
    model_folder,
    plan_for,
    request_rows,
    running,
    wait_for_version,
    wait_until,
)

PROMOTIONS, ROLLBACKS = 20, 5


def test_promotions_canaries_and_rollbacks_under_load_lose_and_mix_nothing(world: World) -> None:
    versions = [world.publish(seed, promote=seed == 1, candidate=seed % 2) for seed in range(1, 4)]
    failures: list[str] = []
    answers: list[tuple[int, str, list[float], float]] = []
    done = threading.Event()

    def call(client: httpx.Client, number: int) -> None:
        rows = request_rows(number + 1, number)
        with httpx.Client(base_url=client.base_url, trust_env=False, timeout=30) as mine:
            while not done.is_set():
                time.sleep(0.02)
                asked = time.perf_counter()
                answer = mine.post("/predict", json={"rows": rows})
                if answer.status_code != 200:
                    failures.append(answer.text)
                    continue
                body, seconds = answer.json(), time.perf_counter() - asked
                answers.append((number, body["version"], [p["score"] for p in body["predictions"]], seconds))

    with running(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_version(client, "1")
        threads = [threading.Thread(target=call, args=(client, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        calm = len(answers)
        for number in range(PROMOTIONS):
            promote(world, client, versions[number % 3], versions[(number + 1) % 3], canary=number % 5 == 0)
        for number in range(ROLLBACKS):
            key = f"back {number}"
            target = versions[(PROMOTIONS - 1 - number) % 3].version
            roll_back(world.client, world.name, by="test", reason="test", run_key=key, version=target)
            wait_for_version(client, target)
        done.set()
        for thread in threads:
            thread.join()
        metrics = client.get("/metrics").text
    assert failures == []
    assert {version for _, version, _, _ in answers} == set(world.published)
    expected = {
        (number, version): made.scores(request_rows(number + 1, number))
        for number in range(4)
        for version, made in world.published.items()
    }
    for number, version, scores, _ in answers:
        assert scores == pytest.approx(expected[number, version], abs=1e-9)
    assert f'evermodel_swaps_total{{model="{world.name}"}} {PROMOTIONS + ROLLBACKS + 1}.0' in metrics
    assert metrics.count("evermodel_model_info{") == 1
    seconds = [entry[3] for entry in answers]
    # The clients share this process and its machine with other tests: the benchmark `swap` measures without slack.
    assert p99(seconds[calm:]) < 2 * p99(seconds[:calm]) + 0.1


def promote(world: World, client: httpx.Client, old: Published, new: Published, *, canary: bool) -> None:
    plan = None
    if canary:
        before = ModelRegistry(world.client).read(world.name).plan
        number = before.revision + 1 if before else 1
        arms = split(old.version, new.version, 0.5)
        plan = plan_for(world, old, new, arms, run_key=f"rollout {number}", revision=number)
        wait_until(lambda: revision(client) == number, "the canary answers")
    world.promote(new.version)
    wait_for_version(client, new.version)
    if plan is not None:
        ModelRegistry(world.client).write_plan(plan.changed(state="promoted"), after=plan)


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


def revision(client: httpx.Client) -> int:
    found: int = client.get("/models").json()[0]["revision"]
    return found


def test_the_versions_of_the_load_test_differ(world: World) -> None:
    one, two = world.publish(1), world.publish(2)
    rows = request_rows(4, 1)
    assert one.scores(rows) != pytest.approx(two.scores(rows), abs=0.01)


@pytest.fixture
def slow_downloads(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, threading.Event], list[str]]]:
    """Hold up the downloads of chosen versions, and note which ones began."""
    held: dict[str, threading.Event] = {}
    begun: list[str] = []
    download = PreparingSource.download

    def slowly(source: PreparingSource, version: Any, folder: Path) -> dict[str, str]:
        begun.append(version.version)
        if version.version in held:
            held[version.version].wait(60)
        return download(source, version, folder)

    monkeypatch.setattr(PreparingSource, "download", slowly)
    yield held, begun
    for event in held.values():
        event.set()


def test_a_rollback_does_not_wait_for_a_download_under_way(
    world: World, slow_downloads: tuple[dict[str, threading.Event], list[str]]
) -> None:
    held, begun = slow_downloads
    _, two = world.publish(1), world.publish(2)
    held["3"] = threading.Event()
    with running(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_version(client, two.version)
        world.publish(3)
        wait_until(lambda: "3" in begun, "version 3 is on its way")
        world.promote("1")
        wait_for_version(client, "1")
        held["3"].set()  # it arrives, and is not wanted any more
        wait_until(lambda: (model_folder(world.settings, world.name) / "3").is_dir(), "version 3 is here")
        metrics = client.get("/metrics").text
        assert client.get("/models").json()[0]["version"] == "1"
        assert f'evermodel_swaps_total{{model="{world.name}"}} 2.0' in metrics
        assert begun == ["2", "3", "1"]


def test_a_version_that_was_rolled_back_while_it_loaded_never_answers(
    world: World, slow_downloads: tuple[dict[str, threading.Event], list[str]]
) -> None:
    held, begun = slow_downloads
    world.publish(1)
    held["2"] = threading.Event()
    # So long a pause that nobody looks while the version loads.
    with running(create_app([world.name], world.settings, poll_seconds=2)) as client:
        wait_for_version(client, "1")
        world.publish(2)
        wait_until(lambda: "2" in begun, "version 2 is on its way")
        world.promote("1")
        held["2"].set()
        wait_until(lambda: (model_folder(world.settings, world.name) / "2").is_dir(), "version 2 is here")
        seen = set()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            seen.add(client.get("/models").json()[0]["version"])
        assert seen == {"1"}


def test_a_new_champion_answers_before_its_fallback_is_loaded(
    world: World, slow_downloads: tuple[dict[str, threading.Event], list[str]]
) -> None:
    held, begun = slow_downloads
    file = world.settings.models / f"{world.name}.yaml"
    file.write_text(file.read_text().replace("max_rows: 50", "max_rows: 50, fallback: {kind: previous}"))
    for seed in (1, 2, 3):
        world.publish(seed)
    reconciler = Reconciler(world.spec, world.settings, Metrics(), 0.05)
    reconciler.check()
    held["1"] = threading.Event()
    roll_back(world.client, world.name, by="test", reason="test", run_key="back", version="2")
    looks = threading.Thread(target=reconciler.check)
    looks.start()
    wait_until(
        lambda: reconciler.current is not None and reconciler.current.version == "2", "version 2 answers"
    )
    wait_until(lambda: begun[-1] == "1", "its fallback is on the way")
    assert reconciler.traffic
    assert reconciler.traffic.previous is None
    held["1"].set()
    looks.join()
    assert reconciler.traffic
    assert reconciler.traffic.previous
    assert reconciler.traffic.previous.version == "1"


def test_a_rollback_is_followed(world: World) -> None:
    one, two = world.publish(1), world.publish(2)
    with running(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_version(client, two.version)
        world.promote(one.version)
        wait_for_version(client, one.version)
        rows = request_rows(3, 1)
        body = client.post("/predict", json={"rows": rows}).json()
    assert [p["score"] for p in body["predictions"]] == pytest.approx(one.scores(rows), abs=1e-12)
