"""The description of the API holds: requests made from it, good and bad, get the answers that it promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from evermodel.serving.app import create_app
from evermodel.serving.auth import Tokens
from support.serving_models import World, running, wait_until

TOKEN = "a-token-that-is-long-enough"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def client(world: World) -> Iterator[httpx.Client]:
    world.publish(1)
    app = create_app([world.name], world.settings, poll_seconds=60, tokens=Tokens((TOKEN,)))
    with running(app) as client:
        client.headers.update(HEADERS)
        wait_until(lambda: client.get("/ready").status_code == 200, "the app is ready")
        yield client


@pytest.mark.timeout(300)
def test_two_thousand_generated_requests_get_what_the_description_promises(
    client: httpx.Client, world: World
) -> None:
    description = client.get("/openapi.json").json()
    for methods in description["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)  # what a bad token gets is tested elsewhere; here bodies are bad
    found = [one.ok() for one in schemathesis.openapi.from_dict(description).get_all_operations()]
    operations = {operation.path: operation for operation in found}
    base = str(client.base_url).rstrip("/")
    session = requests.Session()
    session.trust_env = False
    sent: Counter[tuple[str, str, int]] = Counter()

    def ask(operation: Any, mode: GenerationMode, examples: int, draw: int = 7) -> None:
        @seed(draw)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def run(case: Any) -> None:
            answer = case.call(base_url=base, session=session, headers=HEADERS)
            sent[operation.path, mode.value, answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)

        run()

    for draw, path in enumerate(("/predict", f"/models/{world.name}/predict")):
        ask(operations[path], GenerationMode.POSITIVE, 640, draw)
        ask(operations[path], GenerationMode.NEGATIVE, 400, draw)
    for path in ("/health", "/ready", "/models", "/metrics"):
        ask(operations[path], GenerationMode.POSITIVE, 1)

    predictions = {key: count for key, count in sent.items() if key[0].endswith("/predict")}
    assert sum(predictions.values()) >= 2000, sent
    assert {status for _, mode, status in predictions if mode == "positive"} == {200}, sent
    assert {status for _, mode, status in predictions if mode == "negative"} <= {413, 415, 422}, sent
