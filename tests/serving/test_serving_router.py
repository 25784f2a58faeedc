from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.registry.traffic_plan import Arm, TrafficPlan, split
from evermodel.serving.counters import ServingCounters
from evermodel.serving.routing_table import Traffic, arms_of, hashed, key_of, place, unit_of

MANY = 4_000


def plan(arms: tuple[Arm, ...], salt: str = "s", **fields: Any) -> TrafficPlan:
    return TrafficPlan("m", "canary", "1", "2", arms, salt, "", "", "test", "test", "key", **fields)


def traffic(arms: tuple[Arm, ...], salt: str = "s", loaded: str = "123", **fields: Any) -> Traffic:
    versions: dict[str, ServedModel] = {v: SimpleNamespace(version=v) for v in loaded}  # type: ignore[misc]
    made = plan(arms, salt, **fields)
    return Traffic(
        versions["1"],
        arms_of(made, versions["1"], versions),
        plan=made,
        counters=ServingCounters(("key", "0"), 1),
    )


def request(subject: bytes | None = None, request_id: str = "r") -> dict[str, Any]:
    headers = [(b"host", b"here")] + ([] if subject is None else [(b"x-subject-id", subject)])
    return {"headers": headers, "state": {"request_id": request_id}}


def answering(found: Traffic, count: int = MANY) -> list[str]:
    return [found.route(request(f"caller-{n}".encode())).version for n in range(count)]


salts = st.text(max_size=100)
shares = st.floats(0, 1)


@given(salts, shares)
@settings(max_examples=15, deadline=None)
def test_each_version_gets_its_share(salt: str, share: float) -> None:
    got = Counter(answering(traffic(split("1", "2", share), salt)))["2"]
    # Six standard deviations: once in a billion runs by chance.
    assert abs(got - MANY * share) <= 6 * math.sqrt(MANY * share * (1 - share)) + 1e-6


@given(salts, shares, shares, st.booleans())
@settings(max_examples=15, deadline=None)
def test_who_was_with_the_challenger_stays_while_its_share_grows(
    salt: str, one: float, other: float, turned: bool
) -> None:
    low, high = sorted((one, other))
    arms = [split("1", "2", share) for share in (low, high)]
    before, after = (answering(traffic(a[::-1] if turned else a, salt), 500) for a in arms)
    assert all(b == "1" or a == "2" for b, a in zip(before, after, strict=True))


@given(salts, st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any))
@settings(max_examples=15, deadline=None)
def test_three_versions_get_their_shares(salt: str, weights: list[int]) -> None:
    given_shares = {v: weight / sum(weights) for v, weight in zip("123", weights, strict=True)}
    found = traffic(tuple(Arm(v, share) for v, share in given_shares.items()), salt)
    assert {v: s for v, s in found.shares.items() if s} == pytest.approx(
        {v: s for v, s in given_shares.items() if s}
    )
    got = Counter(answering(found, 2_000))
    for version, share in given_shares.items():
        assert abs(got[version] - 2_000 * share) <= 6 * math.sqrt(2_000 * share * (1 - share)) + 1e-6


def test_a_subject_sticks_and_requests_without_one_do_not() -> None:
    found = traffic(split("1", "2", 0.5))
    assert len({found.route(request(b"anna", f"r{n}")).version for n in range(50)}) == 1
    assert len({found.route(request(None, f"r{n}")).version for n in range(50)}) == 2
    assert len({found.route(request(b"x" * 201, f"r{n}")).version for n in range(50)}) == 2
    assert unit_of(request(b"")) == b"r"


def test_another_rollout_chooses_other_callers() -> None:
    one, two = (answering(traffic(split("1", "2", 0.5), salt)) for salt in ("one", "two"))
    same = sum(a == b for a, b in zip(one, two, strict=True))
    assert abs(same - MANY / 2) < 6 * math.sqrt(MANY / 4)


@given(st.binary(min_size=1, max_size=200), salts)
def test_a_place_is_at_least_0_and_below_1(unit: bytes, salt: str) -> None:
    assert 0 <= place(hashed(unit, key_of(salt))) < 1


def test_a_version_that_is_not_loaded_leaves_its_share_to_the_champion() -> None:
    found = traffic(split("1", "2", 0.4), loaded="13")
    assert (found.arms, found.shares) == ((), {"1": 1.0})
    three = (Arm("1", 0.2), Arm("2", 0.3), Arm("3", 0.5))
    assert traffic(three, loaded="13").shares == pytest.approx({"1": 0.5, "3": 0.5})


def test_beyond_the_limit_the_champion_answers() -> None:
    found = traffic(split("1", "2", 0.5), limit=70)
    found.counters.cap = 70
    got = Counter(answering(found, 1_000))
    assert got == {"1": 930, "2": 70}


def test_a_part_of_the_requests_is_shadowed_and_not_the_same_as_the_one_that_is_routed() -> None:
    found = traffic(split("1", "2", 0.5), shadow=0.25)
    shadowed = Traffic(found.champion, found.arms, shadow=found.arms[-1].served, plan=found.plan)
    asked = [request(f"caller-{n}".encode()) for n in range(MANY)]
    both = Counter((shadowed.route(r).version, shadowed.shadows(r)) for r in asked)
    assert both["1", True] == pytest.approx(MANY / 8, abs=6 * math.sqrt(MANY / 8))
    assert both["2", True] == pytest.approx(MANY / 8, abs=6 * math.sqrt(MANY / 8))
    assert not any(map(found.shadows, asked))
