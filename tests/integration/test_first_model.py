"""The page "Train your first model" is run as it is written, command by command, in an empty folder."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from evermodel.cli.local_stack.ports import free_port
from support.paths import PROJECT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]
PAGE = PROJECT / "docs" / "first-model.md"


def test_the_first_model_gets_to_a_champion_an_answer_and_a_drift_report(tmp_path: Path) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(blocks) >= 9
    script = "\n".join(["set -euo pipefail", *blocks]).replace("8000", str(free_port()))
    folder = tmp_path / "first"
    folder.mkdir()
    # Nothing but the page: what is set here for other tests, or for other models, is not there.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EVERMODEL_", "AIRFLOW", "MLFLOW_"))}
    environment = {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "OMP_NUM_THREADS": "1",
    }
    code, out, errors = _run(script, folder, environment)

    assert code == 0, out[-3000:] + errors[-3000:]
    assert "searches: May ship" in out
    assert re.search(r"^│ pass +│ average_precision floor +│ 0\.[1-4]\d+", out, re.M)
    assert "2014-12-07" in out
    assert "searches, version 1, 2014-12-01 to 2014-12-08: none." in out
    assert "home/reports/searches/2014-12-08/evidently.html" in out
    assert re.search(r'"(?:model_)?version": ?"1"', out)
    assert "✓ MLflow writes" in out
    assert "Traceback" not in out + errors
    assert len(list((folder / "home" / "outbox").glob("*/preview.html"))) == 1


def _run(script: str, folder: Path, environment: dict[str, str]) -> tuple[int, str, str]:
    """Run a script, and end what it may have left behind."""
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=850)
        return process.returncode, out, errors
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
