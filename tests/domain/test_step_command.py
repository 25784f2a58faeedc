"""`evermodel step`: a request in, an answer out, and no way round what protects production."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evermodel.cli.exit_codes import DONE, FAILED, TRY_AGAIN
from evermodel.cli.root import app
from evermodel.core.step_contract import StepRequest
from evermodel.evaluation.decision import Decision
from evermodel.registry.approval import Approval
from evermodel.registry.registry import ModelRegistry
from support.flights import FAST, World

DAY = "2013-03-11"


def step(folder: Path, name: str, request: str) -> tuple[int, dict[str, Any]]:
    """Run the command on files, in this process."""
    (folder / "request.json").write_text(request)
    files = ["--input", str(folder / "request.json"), "--output", str(folder / "answer.json")]
    done = CliRunner().invoke(app, ["step", name, *files])
    answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    assert (answer["contract"], answer["step"]) == (1, name)
    return done.exit_code, answer


@pytest.mark.parametrize(
    ("request_text", "problem"),
    [
        ("nonsense", "the request is no JSON"),
        ("[]", "the request is no JSON object"),
        ('{"model": "flights"}', "follows contract None"),
        ('{"contract": 2, "model": "flights"}', "follows contract 2, and this release knows contract 1"),
        ('{"contract": 1}', "names no model"),
        ('{"contract": 1, "model": 3}', "another field is no text"),
        ('{"contract": 1, "model": "flights", "force_reason": "please"}', "unknown fields: force_reason"),
    ],
)
def test_a_request_that_is_none_is_refused(tmp_path: Path, request_text: str, problem: str) -> None:
    code, answer = step(tmp_path, "extract", request_text)
    assert code == FAILED
    assert answer["error"]["types"][0] == "StepContractError"
    assert problem in answer["error"]["problem"]


def test_a_step_or_an_input_that_is_missing_is_named(tmp_path: Path, world: World) -> None:
    request = StepRequest(world.name, DAY, "key")
    code, answer = step(tmp_path, "deplay", request.dumps())
    assert (code, answer["error"]["problem"]) == (FAILED, "there is no step deplay")
    _, answer = step(tmp_path, "source_ready", request.dumps())
    assert answer["error"]["problem"] == "the request lacks the input start"
    _, answer = step(tmp_path, "extract", replace(request, run_key="").dumps())
    assert answer["error"]["problem"] == "the request has no run_key"


def test_a_server_that_is_away_is_worth_another_try(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:s3cr3t@127.0.0.1:1")
    code, answer = step(tmp_path, "extract", StepRequest(world.name, DAY, "key").dumps())
    assert code == TRY_AGAIN
    assert answer["error"]["types"][0] == "TrackingUnavailableError"
    assert "s3cr3t" not in json.dumps(answer)


@pytest.mark.slow
def test_stdout_has_the_answer_alone(world: World) -> None:
    # The step itself prints, as libraries and their children do.
    program = """
import os
import evermodel.pipelines.steps as steps
from evermodel.cli import main
before = steps.run_step
def loud(*given):
    os.system("echo from a child")
    print("from a library")
    return before(*given)
steps.run_step = loud
main()
"""
    ends = {"start": "2013-03-10T00:00:00+00:00", "end": "2013-03-11T00:00:00+00:00"}
    done = subprocess.run(
        [sys.executable, "-c", program, "step", "source_ready"],
        input=StepRequest(world.name, DAY, inputs=ends).dumps(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, json.loads(done.stdout)["result"]["ready"]) == (DONE, True)
    assert "from a child" in done.stderr
    assert "from a library" in done.stderr


def test_a_version_without_its_approval_or_a_decision_that_ships_is_not_deployed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evermodel.pipelines.evaluate.record_evidence", lambda *args: None)
    world.change(candidates=[FAST], approval="manual", approvers=["boss"])
    request = StepRequest(world.name, DAY, f"retrain/{world.name}/{DAY}", "test")
    retrain = world.retrain(DAY)
    snapshot = retrain.validate(retrain.extract()).snapshot
    trained = [one.to_json() for one in world.train(retrain, snapshot.path)]
    inputs = {
        "snapshot": snapshot.to_json(),
        "trained": trained,
        "approval": "auto",
        "force_reason": "please",
    }

    world.change(gate={"floor": 0.99})
    code, answer = step(tmp_path, "evaluate", replace(request, inputs=inputs).dumps())
    assert (code, answer["result"]["ship"]) == (DONE, False)
    code, answer = step(tmp_path, "register", replace(request, inputs=inputs).dumps())
    assert (code, answer["error"]["types"][0]) == (FAILED, "PromotionError")

    world.change(gate={"floor": 0.5})
    assert step(tmp_path, "evaluate", replace(request, inputs=inputs).dumps())[1]["result"]["ship"]
    _, answer = step(tmp_path, "register", replace(request, inputs=inputs).dumps())
    version = answer["result"]["version"]
    given = {"version": version, "by": "boss", "approval": {"approved": True, "by": "boss"}}
    code, answer = step(tmp_path, "deploy", replace(request, inputs=given).dumps())
    assert (code, answer["error"]["types"][0]) == (FAILED, "ApprovalError")
    assert ModelRegistry(world.client).read(world.name).champion is None

    # As `ApproveOperator` does it, after it has checked who answered.
    named = replace(request, run_key="", inputs={"version": version, "until": "noon"})
    shown = step(tmp_path, "approval_request", named.dumps())[1]["result"]
    assert "**Answer until** noon" in shown["text"]
    assert {"Decision", "Model version"} <= set(shown["links"])
    digest = Decision.from_json(shown["decision"]).digest
    said = Approval(True, "boss", version, "of another decision", "2013-03-11T00:00:00+00:00")
    other = replace(request, inputs={"approval": said.to_json()})
    code, answer = step(tmp_path, "approval_answer", other.dumps())
    assert (code, answer["error"]["types"][0]) == (FAILED, "ApprovalError")
    current = replace(request, inputs={"approval": replace(said, digest=digest).to_json()})
    assert step(tmp_path, "approval_answer", current.dumps())[0] == DONE
    code, answer = step(tmp_path, "deploy", replace(request, inputs=given).dumps())
    assert (code, answer["result"]["version"], answer["result"]["by"]) == (DONE, version, "boss")

    back = replace(request, run_key=f"rollback/{world.name}/1", inputs={"by": "boss"})
    code, answer = step(tmp_path, "rollback", back.dumps())
    assert (code, answer["error"]["types"][0]) == (FAILED, "RollbackError")
    assert "is the first champion" in answer["error"]["problem"]
