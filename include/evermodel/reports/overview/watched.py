"""Watched models on the page: their days come from the verdicts in the database, where no MLflow has them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from evermodel.core.errors import EvermodelError
from evermodel.monitoring.problems import RANK
from evermodel.monitoring.verdict_history import PastVerdict, VerdictHistory, window_counts
from evermodel.reports.overview.store import Store
from evermodel.reports.overview.summary import summarise
from evermodel.spec.window import parse_moment

_AGAIN = timedelta(days=7)  # windows that are read again: answers and incidents are added to them
_READ = "watched"  # in the store's metadata: how many windows of each model were read

log = logging.getLogger(__name__)


def keep_watched(store: Store, address: str, specs: Iterable[str]) -> None:
    """Bring the days of all watched models in a store up to date.

    Parameters
    ----------
    address
        URL of the database with the verdicts; without it the days stay as they are.
    specs
        Names of the models that have a spec.
    """
    try:
        counts = window_counts(address)
        found = {name: counts[name] for name in specs if name in counts}
        if not found:
            return
        store.add_models(found)
        read = json.loads(store.meta().get(_READ, "{}"))
        for name, (count, last) in found.items():
            known = read.get(name, -1) if store.runs(name, "drift", 1) else -1
            since = parse_moment(last) - _AGAIN if 0 <= count - known <= 1 else None
            store.keep_rows(name, _days(name, VerdictHistory(address, name).until(since=since)))
            store.note_loaded(name, time.time())
        store.keep_summaries({name: summarise(store, name) for name in found})
        store.note(**{_READ: json.dumps({name: count for name, (count, _) in found.items()})})
    except EvermodelError as error:
        log.warning("the watched models of the Models page are not read: %s", error)


def _days(model: str, past: Iterable[PastVerdict]) -> list[list[Any]]:
    """Return one row for each day: that of its worst window, the latest of these, with the transitions of all."""
    days: dict[str, list[PastVerdict]] = {}
    for one in past:
        days.setdefault(one.end[:10], []).append(one)
    rows = []
    for day, windows in days.items():
        worst = max(windows, key=lambda one: (RANK.get(one.severity, 0), one.end))
        steps = [
            step
            for one in sorted(windows, key=lambda one: one.end)
            for step in one.facts.get("transitions", ())
        ]
        facts = {**_facts(worst), "transitions": steps, "run_key": f"watch/{model}/{day}"}
        start = int(parse_moment(worst.end).timestamp() * 1000)
        rows.append([facts["run_key"], "drift", day, start, facts])
    return rows


def _facts(one: PastVerdict) -> dict[str, Any]:
    """Return the facts of a window as `evermodel.reports.overview.records` gives those of a day."""
    known = one.facts
    day = known.get("day") or {**known["performance"], "reasons": _reasons(one)}
    return {
        **day,
        "watched": True,
        "version": one.version,
        "severity": one.severity,
        "severities": known["severities"],
        "answer": known.get("answer", ""),
        "began": one.end,
        "ended": one.end,
        "run": "",
        "experiment": "",
        "status": "FINISHED",
    }


def _reasons(one: PastVerdict) -> dict[str, str]:
    """Return the reason of a verdict that an earlier release wrote, under the kind that is worst."""
    found = {kind: RANK.get(severity, 0) for kind, severity in one.facts["severities"].items()}
    worst = max(found, key=lambda kind: found[kind], default="")
    return {worst: one.reason} if found.get(worst) else {}
