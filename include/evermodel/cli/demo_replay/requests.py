"""A client that sends requests continuously, and records every answer."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import httpx


class SteadyClient:
    """Sends one request after the other from a thread of its own, from the first ready answer on.

    Parameters
    ----------
    pause
        Seconds between two requests.
    """

    def __init__(self, url: str, model: str, row: dict[str, Any], pause: float = 0.1) -> None:
        self._address = f"{url}/models/{model}/predict"
        self._ready = f"{url}/ready"
        self._row = row
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="steady-client", daemon=True)
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []

    def __enter__(self) -> SteadyClient:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def wait_for(self, version: str, timeout: float = 60.0) -> bool:
        """Wait until a version has answered; tell whether it did in time."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.versions[version]:
                return True
            time.sleep(0.1)
        return False

    def _ask(self) -> None:
        with httpx.Client(timeout=10, trust_env=False) as client:
            while not self._stop.wait(0.2) and not self._is_ready(client):
                pass
            while not self._stop.wait(self._pause):
                self._ask_once(client)

    def _is_ready(self, client: httpx.Client) -> bool:
        try:
            return client.get(self._ready).status_code == 200
        except httpx.HTTPError:
            return False

    def _ask_once(self, client: httpx.Client) -> None:
        try:
            answer = client.post(self._address, json={"rows": [self._row]})
            answer.raise_for_status()
            self.versions[str(answer.json()["version"])] += 1
        except httpx.HTTPError as error:
            self.failures.append(f"{type(error).__name__}: {error}")
