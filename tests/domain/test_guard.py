"""A new champion goes back by itself when it breaks its limits: once, for a reason, and never back and forth."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evermodel.deployment.automatic_rollback import (
    LEVEL,
    counts_since,
    quality_fault,
    revertible_promotion,
    serving_fault,
    watch_quality,
    watch_serving,
)
from evermodel.monitoring.drift.verdict import PromotionEffect
from evermodel.monitoring.performance.promotion_effect import WatchedPromotion
from evermodel.monitoring.problems import Problem
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.serving_heartbeats import Reports, ServingReport, VersionCounts
from evermodel.spec import ModelSpec
from evermodel.spec.rollout import RollbackSpec
from support.registry_shelf import Shelf, promoted
from support.serving_reports import reports_in
from support.small_spec import small_spec
from support.verdicts import a_verdict

AT = datetime(2013, 6, 1, 12, tzinfo=UTC)
PROMOTED = Promotion("7", "6", AT.isoformat(), "ada", "weekly", "key 7")
LIMITS = RollbackSpec(error_rate=0.01, p99_ms=50, min_requests=500)
BAD = Problem("performance", "critical", "roc_auc fell to 0.61")


def counts(requests: int, errors: int, slow: int = 0) -> VersionCounts:
    return VersionCounts(requests, errors, {"0.05": requests - slow, "+Inf": requests})


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (counts(10_000, 100, 100), None),
        (counts(10_000, 160), "160 of 10,000 requests failed (1.60%), limit 1.00%"),
        (counts(499, 499), None),
        (counts(500, 30), "30 of 500 requests failed"),
        (counts(500, 8), None),
        (counts(10_000, 0, 200), "over 10,000 requests, limit 50 ms"),
    ],
)
def test_a_limit_has_to_be_proved_broken_on_enough_requests(found: VersionCounts, said: str | None) -> None:
    fault = serving_fault(LIMITS, found)
    assert fault is None if said is None else said in str(fault)


def test_what_is_not_declared_is_not_watched_and_no_error_may_mean_none() -> None:
    assert serving_fault(RollbackSpec(), counts(10_000, 10_000, 10_000)) is None
    assert serving_fault(RollbackSpec(error_rate=0), counts(10_000, 1))
    assert serving_fault(RollbackSpec(error_rate=0), counts(10_000, 0)) is None


def test_a_champion_at_its_limits_stays_however_often_one_looks() -> None:
    random, sent_back, champions = np.random.default_rng(7), 0, 200
    for _ in range(champions):
        errors = np.cumsum(random.binomial(200, 0.01, 60))
        looks = (counts(200 * (n + 1), int(failed)) for n, failed in enumerate(errors))
        sent_back += any(serving_fault(LIMITS, look) for look in looks)
    assert sent_back <= 2 * LEVEL * champions


def test_only_the_last_promotion_may_be_taken_back_and_only_for_a_while() -> None:
    within, later = timedelta(days=14), AT + timedelta(days=1)
    assert revertible_promotion([PROMOTED], within, later) == PROMOTED
    assert revertible_promotion([], within, later) is None
    assert revertible_promotion([replace(PROMOTED, previous=None)], within, later) is None, (
        "there is no version to roll back to"
    )
    assert (
        revertible_promotion([PROMOTED, replace(PROMOTED, version="6", kind="rollback")], within, later)
        is None
    )
    assert revertible_promotion([PROMOTED], within, AT + timedelta(days=15)) is None
    assert revertible_promotion([PROMOTED], within, AT - timedelta(days=1)) is None, (
        "an old day says nothing about it"
    )


def report(**changes: Any) -> ServingReport:
    made = ServingReport(
        "flights",
        "web-1-7-a",
        "prod",
        "web-1",
        7,
        AT.isoformat(),
        AT.isoformat(),
        "7",
        counts={"7": counts(100, 1)},
    )
    return replace(made, **changes)


def test_only_answers_since_the_promotion_count() -> None:
    long_ago = (AT - timedelta(days=3)).isoformat()
    reports = Reports(
        live=(report(), report(version="6"), report(counts={"6": counts(9, 9)})),
        gone=(report(stopped=True, rollout="of the next"), report(since=long_ago)),
    )
    assert counts_since(reports, PROMOTED) == counts(200, 2)


HURT = PromotionEffect("7", "6", "roc_auc", AT.isoformat(), 0.01, 0.05, 9, 900, -0.04, -0.05, -0.03)
PAIR = WatchedPromotion("7", "6", AT)


@pytest.mark.parametrize(
    ("changes", "rolls_back"),
    [
        ({}, True),
        ({"promotion": replace(HURT, version="8")}, False),
        ({"promotion": replace(HURT, replaced="5")}, False),
        ({"promotion": replace(HURT, high=-0.005)}, False),
        (
            {"promotion": None, "problems": (BAD,)},
            False,
        ),  # below its baseline, which no rollback needs to correct
        ({"problems": (Problem("quality", "critical", "half of the rows are missing"),)}, False),
    ],
)
def test_quality_sends_back_only_what_is_worse_than_the_replaced_version(
    changes: dict[str, Any], rolls_back: bool
) -> None:
    fault = quality_fault(a_verdict(**{"promotion": HURT, **changes}), PAIR)
    assert fault == (str(HURT) if rolls_back else None)


@pytest.fixture
def shelf(mlflow_store: str) -> Shelf:
    """Version 2 follows version 1."""
    shelf = Shelf(mlflow_store)
    for version, before in (("1", None), ("2", "1")):
        assert shelf.register(f"key {version}") == version
        promoted(
            ModelRegistry(shelf.client),
            shelf.name,
            version,
            expected=before,
            by="a",
            reason="r",
            run_key=f"key {version}",
            at=AT,
        )
    return shelf


def guarded_spec(shelf: Shelf, **rollback: Any) -> ModelSpec:
    return small_spec(name=shelf.name, rollback={"error_rate": 0.01, "quality": True, **rollback})


def failing(shelf: Shelf, lake: Path, version: str) -> None:
    reports_in(lake).write(report(model=shelf.name, version=version, counts={version: counts(1000, 500)}))


def test_a_failing_champion_goes_back_once_and_what_follows_stays(shelf: Shelf, tmp_path: Path) -> None:
    spec, now = guarded_spec(shelf), AT + timedelta(hours=1)
    failing(shelf, tmp_path, "2")

    done = watch_serving(spec, shelf.client, reports_in(tmp_path), now)

    assert done is not None
    assert (done.version, done.previous, done.by, done.kind) == ("1", "2", "evermodel", "rollback")
    assert "500 of 1,000 requests failed" in done.reason
    failing(shelf, tmp_path, "1")
    later = datetime.now(UTC)
    assert watch_serving(spec, shelf.client, reports_in(tmp_path), later) == done, (
        "told again, and not done again"
    )
    assert watch_serving(spec, shelf.client, reports_in(tmp_path), later + timedelta(days=2)) is None
    assert (shelf.state[:2], len(shelf.served)) == (("1", "2"), 3)


def test_a_rollback_that_is_cut_off_is_completed(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, now = guarded_spec(shelf), AT + timedelta(hours=1)
    failing(shelf, tmp_path, "2")
    for step in ("_write_record", "_point"):
        with monkeypatch.context() as cut:
            whole = getattr(ModelRegistry, step)

            def half(*args: Any, _whole: Any = whole, **kwargs: Any) -> None:
                _whole(*args, **kwargs)
                raise KeyboardInterrupt

            cut.setattr(ModelRegistry, step, half)
            with pytest.raises(KeyboardInterrupt):
                watch_serving(spec, shelf.client, reports_in(tmp_path), now)
        assert len(shelf.served) == 2
    # The reports are gone meanwhile; what was begun is completed all the same.
    done = watch_serving(spec, shelf.client, reports_in(tmp_path / "elsewhere"), now)

    assert done is not None
    assert "500 of 1,000" in done.reason
    assert (shelf.state[:2], len(shelf.served)) == (("1", "2"), 3)


def test_nobody_is_sent_back_for_a_predecessor(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.register("key 3")
    seen = ModelRegistry(shelf.client).read(shelf.name)
    promoted(ModelRegistry(shelf.client), shelf.name, "3", expected="2", by="a", reason="r", run_key="key 3")
    # The guard looked just before version 3 was promoted.
    looks = iter([seen])
    whole = ModelRegistry.read
    monkeypatch.setattr(ModelRegistry, "read", lambda *args: next(looks, None) or whole(*args))
    failing(shelf, tmp_path, "2")

    assert (
        watch_serving(guarded_spec(shelf), shelf.client, reports_in(tmp_path), AT + timedelta(hours=1))
        is None
    )
    assert shelf.state[0] == "3"


def test_a_worse_version_goes_back_while_its_labels_mature(shelf: Shelf, tmp_path: Path) -> None:
    effect = replace(HURT, version="2", replaced="1")
    verdict = a_verdict(model=shelf.name, version="2", promotion=effect)
    spec, reports = guarded_spec(shelf, within="1d"), reports_in(tmp_path)

    late = AT + timedelta(days=2, hours=1)  # a day for the rollback, and one for the labels
    assert watch_quality(spec, shelf.client, verdict, late, reports) is None
    done = watch_quality(spec, shelf.client, verdict, AT + timedelta(days=2), reports)
    assert done is not None
    assert (done.version, done.reason) == ("1", f"automatic: {effect}")


def test_it_goes_back_past_a_champion_that_never_answered(shelf: Shelf, tmp_path: Path) -> None:
    for hour, version in enumerate(("3", "4"), start=1):
        shelf.register(f"key {version}")
        promoted(
        ModelRegistry(shelf.client),
        shelf.name, version, expected=str(int(version) - 1), by="a", reason="r",
            run_key=f"key {version}", at=AT + timedelta(hours=hour),
        )  # fmt: skip
    reports_in(tmp_path).write(report(model=shelf.name, version="2"))
    since = (AT + timedelta(hours=2)).isoformat()
    bad = {"4": counts(1000, 500)}
    reports_in(tmp_path).write(report(model=shelf.name, version="4", since=since, at=since, counts=bad))

    done = watch_serving(guarded_spec(shelf), shelf.client, reports_in(tmp_path), AT + timedelta(hours=3))

    assert done is not None
    assert (done.version, done.previous) == ("2", "4")
    assert "skipped: version 3" in done.reason
