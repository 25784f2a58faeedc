"""The README's first command, with Slack's Web API on loopback in place of the outbox."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from evermodel.cli.local_stack.ports import Ports
from support.paths import PROJECT
from support.slack_server import FakeSlack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def test_the_demo_tells_its_story_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ports = Ports.unused()
    with FakeSlack() as slack:
        env = {
            **os.environ,
            "PORT_AIRFLOW": str(ports.airflow),
            "PORT_MLFLOW": str(ports.mlflow),
            "PORT_SERVING": str(ports.serving),
            "AIRFLOW_CONN_SLACK_API_DEFAULT": slack.connection_json(),
            "COLUMNS": "200",
        }
        command = [sys.executable, "-m", "evermodel.cli", "demo", "--exit", "--home", str(tmp_path / "home")]
        done = subprocess.run(
            command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=800, check=False
        )
    output = done.stdout + done.stderr

    assert done.returncode == 0, output
    assert "All checks passed." in output
    assert (
        "3 champions, 1 incident about performance, 1 incident about drift, 2 quiet days without a message"
        in output
    )
    assert "failed: 0." in output
    for problem in ("drift", "performance below baseline"):
        (first,) = [m for m in slack.messages if f"{problem} resolved" in m.text and not m.thread_ts]
        assert any(f"{problem} resolved" in reply.text for reply in slack.thread(first.ts))
    assert any("performance below baseline became critical" in message.text for message in slack.messages)
    assert len(slack.files) == 1
    assert any("first champion, version 1" in message.text for message in slack.messages)
    (answer,) = [message for message in slack.messages if "new champion, version 2" in message.text]
    (first,) = [message for message in slack.messages if message.ts == answer.thread_ts]
    assert "drift" in first.text  # the incident that requested the retrain
    page = (tmp_path / "home" / "index.html").read_text(encoding="utf-8")
    assert (tmp_path / "home" / "index.html").as_uri() in output
    for shown in (
        "better, deployed version 2",
        "(without history 0.",
        f"127.0.0.1:{ports.airflow}/plugin/models",
        "stopped its servers",
    ):
        assert shown in page
    assert _running_in(tmp_path) == []


def _running_in(folder: Path) -> list[str]:
    """Return the command lines of processes that have something to do with a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command, environment = process.info["cmdline"] or [], process.info["environ"] or {}
        if (
            any(str(folder) in part for part in [*command, *environment.values()])
            and process.pid != os.getpid()
        ):
            found.append(" ".join(command))
    return found
