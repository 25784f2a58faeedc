"""What tests that start an MLflow server of their own share."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import httpx


def wait_for_mlflow(url: str, process: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    """Return when the server answers; raise with the end of its log if it does not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise RuntimeError(f"the MLflow server did not start:\n{log.read_text()[-2000:]}")
