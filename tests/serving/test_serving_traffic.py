from __future__ import annotations

import shutil
import threading
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from evermodel.registry import tracking
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tags import TRAFFIC_PLAN
from evermodel.registry.traffic_plan import TrafficPlan, everything_to, split
from evermodel.serving.app import create_app
from evermodel.serving.routing_table import hashed, key_of
from support.prediction_logs import log_rows
from support.serving_models import (
    Wire,
    World,
    model_folder,
    plan_for,
    request_rows,
    wait_for_version,
    wait_until,
)


def state(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/models").json()[0]
    return found


def wait_for_revision(client: httpx.Client, revision: int) -> None:
    wait_until(lambda: state(client)["revision"] == revision, f"revision {revision} is in force")


def change(world: World, plan: TrafficPlan, **fields: Any) -> TrafficPlan:
    return ModelRegistry(world.client).write_plan(plan.changed(**fields), after=plan)


def shadow_waits(reconciler: Any, rows: int) -> bool:
    counted = reconciler.in_memory().counts.get("2")
    return counted is None or counted.shadows < rows


def ask(client: httpx.Client, rows: list[dict[str, Any]], callers: int) -> list[dict[str, Any]]:
    answers = [
        client.post("/predict", json={"rows": rows}, headers={"X-Subject-ID": f"caller-{n}"})
        for n in range(callers)
    ]
    assert {answer.status_code for answer in answers} == {200}, [a.text for a in answers][:1]
    return [answer.json() for answer in answers]


def test_a_rollout_from_a_share_to_the_promotion(world: World) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    rows = request_rows(3, 1)
    plan = plan_for(world, one, two, split("1", "2", 0.3))
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_revision(client, 1)
        assert state(client)["shares"] == pytest.approx({"1": 0.7, "2": 0.3})
        before = ask(client, rows, 40)
        assert {answer["version"] for answer in before} == {"1", "2"}
        for answer in before:
            scores = world.published[answer["version"]].scores(rows)
            assert [p["score"] for p in answer["predictions"]] == pytest.approx(scores, abs=1e-9)
        plan = change(world, plan, arms=split("1", "2", 0.6), step=1)
        wait_for_revision(client, 2)
        after = ask(client, rows, 40)
        assert all(b["version"] == "1" or a["version"] == "2" for b, a in zip(before, after, strict=True))
        (reconciler,) = client.app.state.reconcilers.values()  # type: ignore[attr-defined]
        held = reconciler.in_memory()
        assert (held.version, held.revision, held.rollout) == ("1", 2, "rollout")
        assert sum(counted.requests for counted in held.counts.values()) == 40  # of this step alone
        assert held.counts["2"].buckets["+Inf"] == held.counts["2"].requests
        metrics = client.get("/metrics").text
        assert f'evermodel_version_seconds_count{{model="{world.name}",version="2"}}' in metrics
        assert f'evermodel_traffic_share{{model="{world.name}",version="2"}} 0.6' in metrics
        loads = reconciler.traffic.arms[-1].served
        world.promote("2")
        wait_for_version(client, "2")
        assert reconciler.current is loads  # what was in memory answers, nothing is loaded again
        assert {answer["version"] for answer in ask(client, rows, 10)} == {"2"}
        assert state(client)["revision"] == 0
    logged = world.logged()
    assert set(logged["model_version"]) == {"1", "2"}
    hashes = {hashed(f"caller-{n}".encode(), key_of(plan.salt)).hex() for n in range(40)}
    assert set(logged["subject_hash"].dropna()) == hashes, "what the split goes by, and no caller's name"
    assert logged["subject_hash"].isna().sum() == 10 * 3, "one version answers all"


def test_a_plan_that_ended_or_cannot_be_read_moves_nothing(world: World) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    plan = plan_for(world, one, two, split("1", "2", 1.0))
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_revision(client, 1)
        assert ask(client, request_rows(1, 1), 1)[0]["version"] == "2"
        change(world, plan, state="rolled_back")
        wait_for_revision(client, 0)
        assert ask(client, request_rows(1, 1), 1)[0]["version"] == "1"
        world.client.set_registered_model_tag(world.name, TRAFFIC_PLAN, '{"strategy": "?"}')
        wait_until(
            lambda: "plan in the registry cannot be read" in str(state(client)["last_error"]), "it says so"
        )
        assert ask(client, request_rows(1, 1), 1)[0]["version"] == "1"
        world.client.delete_registered_model_tag(world.name, TRAFFIC_PLAN)
        wait_until(lambda: state(client)["last_error"] is None, "the error is forgotten")


def test_the_unheard_answers_are_compared_and_kept_apart(world: World) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    rows = request_rows(20, 1)
    plan_for(world, one, two, everything_to("1"), shadow=1.0)
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_until(lambda: state(client)["shadow"] == "2", "the shadow is there")
        assert {answer["version"] for answer in ask(client, rows, 5)} == {"1"}
        (reconciler,) = client.app.state.reconcilers.values()  # type: ignore[attr-defined]
        wait_until(lambda: not shadow_waits(reconciler, 100), "the shadow has answered")
        counted = reconciler.in_memory().counts["2"]
    heard, shadow_answers = one.scores(rows), two.scores(rows)
    agreeing = sum((a >= 0.5) == (b >= 0.5) for a, b in zip(heard, shadow_answers, strict=True))
    assert 0 < agreeing < 20
    assert (counted.requests, counted.shadow_errors, counted.agreeing) == (0, 0, 5 * agreeing)
    differences = [abs(a - b) for a, b in zip(heard, shadow_answers, strict=True)]
    assert counted.difference == pytest.approx(5 * sum(differences), abs=1e-6)
    assert set(world.logged()["model_version"]) == {"1"}
    log = log_rows(world.settings.lake, world.name, "shadow").to_pandas()
    first = log[log["prediction_id"].str.startswith(log["request_id"].iloc[0])]
    assert first["score"].tolist() == pytest.approx(shadow_answers, abs=1e-9)
    assert first["heard_score"].tolist() == pytest.approx(heard, abs=1e-9)
    assert set(log["source"] + log["model_version"] + log["heard_version"]) == {"shadow21"}
    assert first["carrier"].tolist() == [row["carrier"] for row in rows]


def test_only_what_the_shadow_answered_alone_counts_as_its_response_time(world: World) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    plan_for(world, one, two, everything_to("1"), shadow=1.0)
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_until(lambda: state(client)["shadow"] == "2", "the shadow is there")
        (reconciler,) = client.app.state.reconcilers.values()  # type: ignore[attr-defined]
        shadow, sizes = reconciler.traffic.shadow, []
        predict, held_up = shadow.predict, threading.Event()

        def slow(rows: list[Any]) -> Any:
            sizes.append(len(rows))
            held_up.wait(20)
            return predict(rows)

        object.__setattr__(shadow, "predict", slow)
        ask(client, request_rows(3, 1), 1)
        wait_until(lambda: sizes == [3], "the shadow is at work")
        ask(client, request_rows(3, 1), 9)
        held_up.set()
        wait_until(lambda: not shadow_waits(reconciler, 30), "the shadow has answered")
        counted = reconciler.in_memory().counts["2"]
    assert sizes == [3, 3, 24]
    assert counted.buckets["+Inf"] == 2  # the first of all, and the first of those that waited together


def test_what_only_the_challenger_refuses_is_answered_by_the_champion(world: World) -> None:
    one = world.publish(1)
    file = world.settings.models / f"{world.name}.yaml"
    file.write_text(file.read_text().replace("numeric: [temp, wind]", "numeric: [wind]"))
    two = world.publish(2, promote=False)
    plan_for(world, one, two, split("1", "2", 1.0))
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_revision(client, 1)
        old = ask(client, request_rows(2, 1), 3)
        assert {answer["version"] for answer in old} == {"1"}
        new = ask(client, [{"wind": 1.0, "carrier": "AA"}], 2)
        assert {answer["version"] for answer in new} == {"2"}
        wrong = client.post("/predict", json={"rows": [{"carrier": "AA"}]})
        assert (wrong.status_code, "row 0: wind: is missing" in wrong.text) == (422, True)
        (reconciler,) = client.app.state.reconcilers.values()  # type: ignore[attr-defined]
        counted = reconciler.in_memory().counts["2"]
        assert (counted.requests, counted.errors) == (5, 3)  # what the caller did wrong is nobody's


def test_an_arm_that_cannot_be_loaded_leaves_its_share_to_the_champion(world: World) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    run = world.client.create_run(tracking.experiment_id(world.client, world.name))
    empty = world.register(f"{run.info.artifact_uri}/model", run.info.run_id, None, 3, promote=False)
    plan = plan_for(world, one, two, split("1", "2", 0.9))
    rows = request_rows(1, 1)
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_revision(client, 1)
        for version in (empty.version, "9"):
            plan = change(world, plan, arms=split("1", version, 0.9), challenger=version)
            wait_for_revision(client, plan.revision)
            assert {answer["version"] for answer in ask(client, rows, 5)} == {"1"}
            assert list(state(client)["missing"]) == [version]
            told = f"version {version} cannot be loaded and the champion answers instead"
            wait_until(lambda told=told: told in str(state(client)["last_error"]), "it is told")  # type: ignore[misc]
            assert client.get("/ready").status_code == 200
        world.promote(empty.version)  # now as champion
        wait_for_revision(client, 0)
        assert {answer["version"] for answer in ask(client, rows, 5)} == {"1"}
        world.promote(two.version)
        wait_for_version(client, two.version)
        wait_until(lambda: state(client)["last_error"] is None, "the error is forgotten")


def test_a_start_without_registry_answers_by_the_last_plan(world: World, wire: Wire) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    plan_for(world, one, two, split("1", "2", 0.5))
    settings = world.through(wire.url)
    rows = request_rows(1, 1)
    with TestClient(create_app([world.name], settings, poll_seconds=0.2)) as client:
        wait_for_revision(client, 1)
        before = [answer["version"] for answer in ask(client, rows, 20)]
    wire.cut()
    with TestClient(create_app([world.name], settings, poll_seconds=0.2)) as client:
        assert [answer["version"] for answer in ask(client, rows, 20)] == before  # from the first request on
        assert "does not answer" in state(client)["last_error"]
    shutil.rmtree(model_folder(settings, world.name) / "2")
    with TestClient(create_app([world.name], settings, poll_seconds=0.2)) as client:
        assert {answer["version"] for answer in ask(client, rows, 20)} == {"1"}


def test_the_limit_of_a_step_holds_without_a_controller(world: World) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    plan = plan_for(world, one, two, split("1", "2", 1.0), limit=7)
    rows = request_rows(1, 1)
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_revision(client, 1)
        assert [answer["version"] for answer in ask(client, rows, 12)] == ["2"] * 7 + ["1"] * 5
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_revision(client, 1)
        assert {answer["version"] for answer in ask(client, rows, 5)} == {"1"}  # a restart gives nothing back
        change(world, plan, step=1, step_since="later", limit=3)
        wait_for_revision(client, 2)
        assert [answer["version"] for answer in ask(client, rows, 5)] == ["2"] * 3 + ["1"] * 2


def test_a_request_without_an_answer_uses_nothing_of_the_limit(world: World) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    plan_for(world, one, two, split("1", "2", 1.0), limit=3)
    with TestClient(create_app([world.name], world.settings, poll_seconds=0.2)) as client:
        wait_for_revision(client, 1)
        refused = [client.post("/predict", content=body) for body in (b"[", b'{"rows": [{}]}', b"") * 3]
        assert {answer.status_code for answer in refused} == {422}
        (reconciler,) = client.app.state.reconcilers.values()  # type: ignore[attr-defined]
        assert (reconciler.traffic.counters.taken, "2" in reconciler.in_memory().counts) == (0, False)
        assert [a["version"] for a in ask(client, request_rows(1, 1), 5)] == ["2"] * 3 + ["1"] * 2


def test_the_limit_of_a_step_outlives_a_restart_without_the_registry(world: World, wire: Wire) -> None:
    one, two = world.publish(1), world.publish(2, promote=False)
    plan_for(world, one, two, split("1", "2", 1.0), limit=7)
    settings, rows = world.through(wire.url), request_rows(1, 1)
    with TestClient(create_app([world.name], settings, poll_seconds=0.2)) as client:
        wait_for_revision(client, 1)
        assert [answer["version"] for answer in ask(client, rows, 5)] == ["2"] * 5
    wire.cut()
    with TestClient(create_app([world.name], settings, poll_seconds=0.2)) as client:
        assert [answer["version"] for answer in ask(client, rows, 5)] == ["2"] * 2 + ["1"] * 3


def test_two_controllers_do_not_write_over_each_other(world: World) -> None:
    from evermodel.core.errors import RegistryConflictError

    one, two = world.publish(1), world.publish(2, promote=False)
    plan = plan_for(world, one, two, split("1", "2", 0.1))
    changed = change(world, plan, arms=split("1", "2", 0.2))
    with pytest.raises(RegistryConflictError, match="has changed the traffic plan"):
        change(world, plan, arms=split("1", "2", 0.3))
    assert ModelRegistry(world.client).read(world.name).plan == changed
