"""The sample of the fault sweep, in a process that has used no bucket: its steps are forked from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import PROJECT

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(600)]


def test_the_sample_holds(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        f"--basetemp={tmp_path / 'sample'}",
        "tests/faults/sample.py",
    ]
    done = subprocess.run(
        command, cwd=PROJECT, env=kept, capture_output=True, text=True, timeout=580, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
