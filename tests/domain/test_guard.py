"""A new champion goes back by itself when it breaks its limits: once, for a reason, and never back and forth."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update
from tests.simulations.outages import HOUR, Fault, Served, rolled_back

from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import serving_watches
from evermodel.deployment.automatic_rollback import (
    quality_fault,
    revertible_promotion,
    watch_quality,
    watch_serving,
)
from evermodel.deployment.serving_watch import RUN_LENGTH, Counts, Elsewhere, ServingWatch, look
from evermodel.monitoring.drift.verdict import PromotionEffect
from evermodel.monitoring.performance.promotion_effect import WatchedPromotion
from evermodel.monitoring.problems import Problem
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.serving_heartbeats import ServingReport, VersionCounts
from evermodel.spec import ModelSpec
from evermodel.spec.rollout import RollbackSpec
from evermodel.stats.sequential import RateDetector
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


def seen(found: VersionCounts, spec: RollbackSpec = LIMITS) -> str | None:
    """Return the fault of the first look, an hour after the promotion."""
    reports = [report(counts={"7": found})]
    watch = ServingWatch(PROMOTED.run_key, PROMOTED.at)
    return watch.look(spec, reports, "flights", PROMOTED, AT + timedelta(hours=1)).fault(spec)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (counts(10_000, 100, 100), None),
        (counts(10_000, 160), "160 of 10,000 requests failed (1.60%), limit 1.00%"),
        (counts(499, 499), None),
        (counts(500, 30), "30 of 500 requests failed"),
        (counts(500, 8), None),
        (counts(10_000, 0, 200), "200 of 10,000 requests took more than 50 ms (2.00%), limit 1%, since 2013"),
    ],
)
def test_a_limit_has_to_be_proved_broken_on_enough_requests(found: VersionCounts, said: str | None) -> None:
    fault = seen(found)
    assert fault is None if said is None else said in str(fault)


def test_what_is_not_declared_is_not_watched_and_no_error_may_mean_none() -> None:
    assert seen(counts(10_000, 10_000, 10_000), RollbackSpec()) is None
    assert seen(counts(10_000, 1), RollbackSpec(error_rate=0))
    assert seen(counts(10_000, 0), RollbackSpec(error_rate=0)) is None


@dataclass
class Requests:
    """A champion on two hosts beside another model, as looks of an hour see them."""

    watch: ServingWatch = field(default_factory=lambda: ServingWatch(PROMOTED.run_key, PROMOTED.at))
    hours: int = 0
    totals: dict[str, tuple[int, int]] = field(default_factory=dict)

    def hour(self, first: float, second: float, elsewhere: float = 0.0, requests: int = 100) -> str | None:
        """Pass an hour in which a share of the requests fails; each host and the other model has so many."""
        self.hours += 1
        reports = []
        for host, model, version, share in (
            ("web-1", "flights", "7", first),
            ("web-2", "flights", "7", second),
            ("web-1", "fares", "3", elsewhere),
        ):
            name = f"{host}-{model}"
            before = self.totals.get(name, (0, 0))
            done = (before[0] + requests, before[1] + round(share * requests))
            self.totals[name] = done
            found = {version: counts(*done)}
            reports.append(report(model=model, host=host, instance=name, version=version, counts=found))
        now = AT + timedelta(hours=self.hours)
        stored = ServingWatch.from_json(json.loads(json.dumps(asdict(self.watch))))
        self.watch = stored.look(LIMITS, reports, "flights", PROMOTED, now)
        return self.watch.fault(LIMITS)


def test_a_version_that_fails_after_a_calm_week_goes_back_within_hours() -> None:
    calls = Requests()
    assert [calls.hour(0.0, 0.01) for _ in range(7 * 24)] == [None] * 168
    faults = [calls.hour(0.1, 0.1) for _ in range(4)]
    fault = next(fault for fault in faults if fault is not None)
    assert "requests failed (10.00%), limit 1.00%, since 2013-06-08T12:00" in fault


def test_what_fails_everywhere_at_once_is_an_outage_and_one_host_is_no_version() -> None:
    outage, host = Requests(), Requests()
    outage.hour(0.0, 0.0), host.hour(0.0, 0.0)
    assert [outage.hour(0.9, 0.9, elsewhere=0.5) for _ in range(24)] == [None] * 24
    assert [host.hour(0.9, 0.0) for _ in range(24)] == [None] * 24
    assert outage.hour(0.9, 0.9) is not None, "the other model is well again"


TWO_PERCENT = RollbackSpec(error_rate=0.02, min_requests=500)


@pytest.mark.parametrize("other", [[2000.0], [20000.0], [400.0] * 4])
def test_an_outage_of_forty_minutes_rolls_nothing_back_also_beside_models_with_few_requests(
    other: list[float],
) -> None:
    random, fault = np.random.default_rng(5), Fault(HOUR, HOUR + 2400)
    served = [Served("flights", 20000, failing=0.3)]
    served += [Served(f"other {number}", daily, failing=0.3) for number, daily in enumerate(other)]
    assert [rolled_back(served, fault, random, TWO_PERCENT, 3) for _ in range(6)] == [None] * 6


def test_a_fault_of_the_version_is_seen_within_hours_also_if_errors_rise_slowly() -> None:
    random = np.random.default_rng(5)
    served = [Served("flights", 10_000, failing=0.1), Served("other", 2000)]
    at_once = [rolled_back(served, Fault(HOUR, 99 * HOUR), random, TWO_PERCENT, 5) for _ in range(5)]
    assert max(found or 5 * HOUR for found in at_once) < 3 * HOUR
    rising = rolled_back(served, Fault(HOUR, 99 * HOUR, 24 * HOUR), random, TWO_PERCENT, 26)
    assert rising is not None
    assert rising < 18 * HOUR, "at 7.5 % errors"


def test_a_watch_of_the_release_before_is_continued() -> None:
    stored = asdict(Requests().watch)
    for name in ("without", "waiting", "waiting_since", "waiting_looks"):
        del stored[name]
    stored["elsewhere"] = {
        "fares": {"total": asdict(Counts(9, 1)), "usual": asdict(Counts(9, 1)), "days": 0.0}
    }
    assert ServingWatch.from_json(stored).elsewhere == {"fares": Elsewhere(Counts(9, 1), Counts(9, 1))}


def test_a_model_that_always_fails_hides_no_fault_of_another() -> None:
    calls = Requests()
    for _ in range(24):
        assert calls.hour(0.0, 0.0, elsewhere=0.3) is None
    assert any(calls.hour(0.3, 0.3, elsewhere=0.3) for _ in range(3))
    calls = Requests()
    calls.hour(0.0, 0.0)
    assert [calls.hour(0.3, 0.3, elsewhere=0.9) for _ in range(23)] == [None] * 23, "an outage"
    assert any(calls.hour(0.3, 0.3, elsewhere=0.9) for _ in range(6)), "and after a day not any more"


def test_a_champion_at_its_limits_stays_however_often_one_looks() -> None:
    # Ten years until a false rollback, of which 100 champions are watched for 40 days: 1.1 expected at most.
    random, sent_back = np.random.default_rng(7), 0
    for _ in range(100):
        found = RateDetector()
        for failed in random.binomial(200, 0.01, 40).tolist():
            found = found.after(failed, 200, 0.01, elapsed=1)
            if found.run_length >= RUN_LENGTH:
                sent_back += 1
                break
    assert sent_back <= 6


def test_a_damaged_watch_begins_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    reports = reports_in(tmp_path)
    first = look(LIMITS, reports, "flights", PROMOTED, AT)
    with open_database(reports.address).writing() as connection:
        connection.execute(update(serving_watches).values(content='{"promotion": "pro'))

    assert look(LIMITS, reports, "flights", PROMOTED, AT) == first
    assert "the watch on model flights cannot be read, and begins anew" in caplog.text
    caplog.clear()
    look(LIMITS, reports, "flights", PROMOTED, AT)
    assert caplog.text == ""


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
    reports = [
        report(),
        report(instance="b", version="6"),
        report(instance="c", counts={"6": counts(9, 9)}),
        report(instance="d", stopped=True, rollout="of the next"),
        report(instance="e", since=long_ago),
    ]
    watch = ServingWatch(PROMOTED.run_key, PROMOTED.at).look(LIMITS, reports, "flights", PROMOTED, AT)
    assert watch.own == {"web-1-7-a": Counts(100, 1), "d": Counts(100, 1)}
    assert watch.elsewhere == {"version 6": Elsewhere(Counts(9, 9), Counts(9, 9))}


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
