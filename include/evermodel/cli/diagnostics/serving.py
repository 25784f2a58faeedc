"""Check of the serving processes."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from evermodel.core.diagnostics import Finding, first_line
from evermodel.core.logins import ask
from evermodel.core.settings import Settings


def check_serving(settings: Settings) -> Iterator[Finding]:
    """Ask every serving address whether it is ready."""
    if not settings.serving_urls:
        yield Finding(
            "serving",
            "yellow",
            "no address is set, so response times and errors are not monitored",
            "set EVERMODEL_SERVING_URLS if you run a serving app",
        )
    for url in settings.serving_urls:
        yield _one(url)


def _one(url: str) -> Finding:
    try:
        answer = ask(url, "/ready", 5)
    except httpx.HTTPError as error:
        return Finding(
            "serving",
            "red",
            f"{url} does not answer ({first_line(error)})",
            "start it (evermodel serve <models>), or correct EVERMODEL_SERVING_URLS",
        )
    if answer.status_code == 200:
        return Finding("serving", "green", f"{url} is ready")
    return Finding(
        "serving",
        "red",
        f"{url} is not ready: HTTP {answer.status_code}, {answer.text[:300].strip()}",
        "see the models and reasons in its answer; if there is no champion yet, run evermodel train <model>",
    )
