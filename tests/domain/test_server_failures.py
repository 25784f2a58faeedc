"""A server that fails for the moment is an error that a retry cures: nothing is taken for missing, refused or broken."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from evermodel.core.errors import (
    ModelFormatError,
    PromotionError,
    SnapshotStoreError,
    StorageUnavailableError,
    TrackingUnavailableError,
)
from evermodel.deployment import eligibility
from evermodel.deployment.rollout import smoke
from evermodel.pipelines import evaluate
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tracking import may_pass
from support.small_spec import small_spec

TORN = MlflowException("failures: ChunkedEncodingError('Response ended prematurely')")
MISSING = MlflowException("failures: HTTPError('404 Client Error: NOT FOUND for url')")
VERSION: Any = SimpleNamespace(name="small", version="3", tags={})
NOWHERE: Any = SimpleNamespace(tracking_uri="sqlite:///nowhere.db")


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (TORN, True),
        (MISSING, False),
        (MlflowException("deadlock detected"), True),
        (StorageUnavailableError("s3://lake does not answer", "wait"), True),
        (TrackingUnavailableError("MLflow does not answer", "wait"), True),
        (ConnectionResetError("reset by peer"), True),
        (SnapshotStoreError("the remote has no such content", "restore it"), False),
        (ModelFormatError("a pickle", "retrain"), False),
        (FileNotFoundError("s3://lake/snapshots/x does not exist"), False),
    ],
)
def test_what_may_pass(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes


def test_a_version_is_missing_only_if_the_registry_says_so() -> None:
    gone = MlflowException("no such version")
    gone.error_code = "RESOURCE_DOES_NOT_EXIST"
    client: Any = SimpleNamespace(search_model_versions=lambda query: [SimpleNamespace(version="1")])
    client.get_model_version = failing(TORN)
    with pytest.raises(MlflowException):
        ModelRegistry(client).version("small", "3")
    client.get_model_version = failing(gone)
    with pytest.raises(PromotionError, match="has no version 3"):
        ModelRegistry(client).version("small", "3")


def test_a_decision_is_missing_only_if_mlflow_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(info=SimpleNamespace(run_id="r"))
    monkeypatch.setattr(eligibility, "retrain_of", lambda *_: run)
    for error, raised in ((TORN, MlflowException), (MISSING, PromotionError)):
        monkeypatch.setattr(eligibility, "read_json", failing(error))
        with pytest.raises(raised):
            eligibility.decision_of(NOWHERE, VERSION)


def test_a_torn_download_is_no_fault_of_the_champion_or_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    run: Any = SimpleNamespace(settings=NOWHERE)
    moment = datetime(2026, 3, 2, tzinfo=UTC)
    monkeypatch.setattr(evaluate, "_evaluated_model", failing(TORN))
    monkeypatch.setattr(smoke, "_load", failing(TORN))
    with pytest.raises(MlflowException):
        evaluate._champion(run, VERSION)
    with pytest.raises(MlflowException):
        smoke.smoke_test(small_spec(), NOWHERE, NOWHERE, "3", "2", moment)

    monkeypatch.setattr(evaluate, "_evaluated_model", failing(MISSING))
    monkeypatch.setattr(smoke, "_load", failing(MISSING))
    assert "404" in str(evaluate._champion(run, VERSION)[1])
    assert "cannot be loaded" in smoke.smoke_test(small_spec(), NOWHERE, NOWHERE, "3", "2", moment).problem
