from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evermodel.drift.verdict import DriftVerdict
from evermodel.retrain_policy import current_wish, record_request, retrain_wish
from evermodel.tracking import connect
from small_spec import small_spec

NOW = datetime(2026, 3, 9, tzinfo=UTC)
CALM = DriftVerdict(
    "small", "1", "2026-03-02T00:00:00+00:00", "2026-03-09T00:00:00+00:00", 1000, 500, 0.01, "none",
    "1 of 3 columns drift: age", (), None, None, None, None, None, (),
)  # fmt: skip


def _ago(days: float) -> str:
    return (NOW - timedelta(days=days)).isoformat()


def _wish(when: str = "critical", severity: Any = "critical", **more: Any) -> Any:
    spec = small_spec(drift={"retrain": {"when": when, "cooldown": "7d"}})
    verdict = replace(CALM, severity=severity, quality=more.pop("quality", ()))
    return retrain_wish(spec, verdict, NOW, more.get("last_request"), more.get("champion_as_of"))


@pytest.mark.parametrize(
    ("when", "severity", "wanted"),
    [
        ("never", "critical", None),
        ("critical", "critical", True),
        ("critical", "warning", None),
        ("critical", "none", None),
        ("warning", "critical", True),
        ("warning", "warning", True),
        ("warning", "none", None),
    ],
)
def test_the_severity_that_the_policy_names_asks(when: str, severity: str, wanted: bool | None) -> None:
    assert _wish(when, severity).wanted is wanted


def test_a_wish_says_since_when_and_why() -> None:
    assert _wish().note == "drift since 2026-03-02: 1 of 3 columns drift: age"


def test_bad_data_vetoes() -> None:
    wish = _wish(quality=("age: 90% missing, at most 50% allowed",))

    assert wish.wanted is False
    assert "age: 90% missing" in wish.note


@pytest.mark.parametrize(("days", "wanted"), [(1, False), (6.99, False), (7, True), (30, True)])
@pytest.mark.parametrize("what", ["last_request", "champion_as_of"])
def test_the_cool_down_runs_from_the_last_request_and_the_last_training(
    what: str, days: float, wanted: bool
) -> None:
    assert _wish(**{what: _ago(days)}).wanted is wanted


def test_the_refusal_names_what_was_too_recent() -> None:
    assert "last request was 2 days ago" in _wish(last_request=_ago(2), champion_as_of=_ago(30)).note
    assert "last training of the champion was 3 days ago" in _wish(champion_as_of=_ago(3)).note


def test_the_same_moment_again_is_the_same_request() -> None:
    assert _wish(last_request=NOW.isoformat()).wanted is True
    assert _wish(last_request=NOW.isoformat(), champion_as_of=NOW.isoformat()).wanted is False


def test_a_recorded_request_has_one_key_a_moment_and_starts_the_cool_down(mlflow_server: str) -> None:
    client = connect(mlflow_server)
    spec = small_spec(name="policy_small", drift={"retrain": {"when": "critical", "cooldown": "7d"}})
    client.create_registered_model(spec.name)
    run = client.create_run("0")
    client.create_model_version(
        spec.name, f"{run.info.artifact_uri}/model", run.info.run_id, tags={"evermodel.as_of": _ago(60)}
    )
    verdict = replace(CALM, severity="critical")
    assert current_wish(spec, verdict, NOW, client).wanted is True

    first, again = (record_request(spec, NOW, "drift", client) for _ in range(2))

    assert first == again
    assert first == {
        "run_key": "retrain/policy_small/drift-2026-03-09",
        "as_of": NOW.isoformat(),
        "reason": "drift",
    }
    assert current_wish(spec, verdict, NOW, client).wanted is True
    assert current_wish(spec, verdict, NOW + timedelta(days=1), client).wanted is False
    assert current_wish(spec, verdict, NOW + timedelta(days=7), client).wanted is True
