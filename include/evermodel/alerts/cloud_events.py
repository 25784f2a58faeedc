"""Verdicts, incidents and retrain requests as CloudEvents 1.0 over HTTP, for programs of other teams."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from evermodel.core.errors import PermanentError, TransientError
from evermodel.core.logins import log_hosts_only
from evermodel.monitoring.drift.verdict import DriftVerdict

_SYSTEM = "evermodel"
_SECONDS = 20.0
_TOLD = {"open": "opened", "escalate": "escalated", "resolve": "resolved", "close": "closed"}
_PASSING = (408, 425, 429)  # answers of a server that may take the event later
Event = dict[str, Any]


def events_of(
    verdict: DriftVerdict,
    incidents: Iterable[Mapping[str, Any]] = (),
    request: Mapping[str, Any] | None = None,
) -> list[Event]:
    """Return the events of one evaluated window; the same window has the same ids, so that receivers know a repetition.

    Parameters
    ----------
    incidents
        What was done about each kind of problem: ``kind``, ``action``, ``severity`` and ``incident``.
    request
        The retrain request with its ``run_key``, if there is one.
    """
    severity = {"severity": verdict.severity, "reason": verdict.reason}
    problems = [asdict(problem) for problem in verdict.problems]
    about = {"version": verdict.version, "window_start": verdict.start, "window_end": verdict.end}
    facts = {
        **severity,
        "window_rows": verdict.window_rows,
        "problems": [{k: p[k] for k in ("kind", "severity", "reason", "known")} for p in problems],
        "drifting": [
            {
                "column": c.column,
                "what": c.what,
                "measure": c.measure,
                "effect": c.effect,
                "severity": c.severity,
            }
            for c in verdict.drifting
        ],
        "performance": asdict(verdict.performance),
    }
    found = [_event(verdict, "verdict", verdict.end, {**about, **facts})]
    for one in incidents:
        if one["action"] in _TOLD:
            kind = f"incident.{_TOLD[one['action']]}"
            data = {**about, **{name: one[name] for name in ("kind", "severity", "incident")}}
            found.append(_event(verdict, kind, f"{one['incident']}/{verdict.end}", data))
    if request:
        found.append(_event(verdict, "retrain.requested", str(request["run_key"]), {**about, **request}))
    return found


def _event(verdict: DriftVerdict, kind: str, name: str, data: Mapping[str, Any]) -> Event:
    return {
        "specversion": "1.0",
        "type": f"{_SYSTEM}.{kind}",
        "source": f"/{_SYSTEM}/{verdict.model}",
        "id": f"{verdict.model}/{kind}/{name}",
        "time": verdict.end,
        "subject": verdict.model,
        "datacontenttype": "application/json",
        "data": {"model": verdict.model, **data},
    }


def send_events(url: str, events: Iterable[Event], headers: Mapping[str, str], shown: str) -> None:
    """POST events one by one, each as ``application/cloudevents+json``.

    Parameters
    ----------
    headers
        Such as the login; they are in no error.
    shown
        What the address is called in errors, without a login.

    Raises
    ------
    TransientError
        The receiver does not answer, or cannot take events now.
    PermanentError
        The receiver refuses an event.
    """
    import httpx

    log_hosts_only()
    with httpx.Client(timeout=_SECONDS, headers=dict(headers)) as client:
        for event in events:
            kind = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
            try:
                status = client.post(url, content=json.dumps(event), headers=kind).status_code
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise TransientError(
                    f"{shown} does not take the event {event['id']}: {type(error).__name__}",
                    "check that the receiver runs and the connection's address; the task is retried",
                ) from None
            if status >= 500 or status in _PASSING:
                raise TransientError(
                    f"{shown} answers {status} to the event {event['id']}", "the task is retried"
                )
            if status >= 300:
                raise PermanentError(
                    f"{shown} refuses the event {event['id']} with {status}",
                    "correct the connection's address, endpoint or token",
                )
