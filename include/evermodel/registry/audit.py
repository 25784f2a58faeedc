"""The audit log: every change of what serves, one hash-chained line each, in MLflow.

A model's lines are the parameters 1, 2, 3, … of the one run of the experiment ``<model>-audit``. MLflow never changes a
parameter and refuses a second value, so writers on several machines keep one order without a lock. A line holds the
SHA-256 of the line before and of itself, and a tag of the registered model names the last line. Every line is written
before the change that it records: a process that dies in between leaves a line, never a change without one.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evermodel.core.environment import os_user
from evermodel.core.errors import NewerFormatError, RegistryConflictError
from evermodel.core.formats import json_digest, loads, stamped
from evermodel.registry import registry_entry
from evermodel.registry.registry_entry import RegistryEntry
from evermodel.registry.tags import AUDIT, KIND
from evermodel.registry.tracking import ignoring
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, Run

LOG = logging.getLogger("evermodel.audit")
_LONGEST = 5500  # MLflow takes 6,000 characters
_TRIES = 200
_MOST_NAMED = 1000
_WRITER_SECONDS = 3.0
_ANSWERS = ("approval", "rejection")


@dataclass(frozen=True)
class AuditLog:
    """A model's lines as stored, by number.

    Parameters
    ----------
    end
        The model's tag: number and SHA-256 of the line that was written last, or of one shortly before, and its run.
    """

    model: str
    run: str = ""
    lines: Mapping[int, str] = field(default_factory=dict)
    end: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: str, run: Run | None, tags: Mapping[str, str]) -> AuditLog:
        """Build the log from its run and the registered model's tags."""
        end = _end(tags.get(AUDIT, "{}"))
        if run is None:
            return cls(model, end=end)
        lines = {int(key): text for key, text in run.data.params.items() if key.isdecimal()}
        return cls(model, run.info.run_id, dict(sorted(lines.items())), end)

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that can be read, oldest first."""
        for text in self.lines.values():
            entry = _read(text)
            if entry is not None:
                yield entry

    def next_line(self) -> tuple[int, str]:
        """Return the next number and the SHA-256 to hold; lines that were cut off are not written again."""
        last = max(self.lines, default=0)
        if last < self.end.get("line", 0):
            return self.end["line"] + 1, self.end["sha256"]
        entry = _read(self.lines[last]) if last else {}
        return last + 1, (entry or {}).get("sha256", "")

    @property
    def lost_end(self) -> bool:
        """Tell whether the tag is gone, or holds no end."""
        return len(self.lines) > 1 and not self.end

    def problems(self) -> list[str]:
        """Name every line that is missing, edited, moved or replaced."""
        found, before = [], ""
        last = max(self.lines, default=0)
        last = max(last, min(self.end.get("line", 0), last + _MOST_NAMED))
        if self.lost_end:
            found.append(f"the tag {AUDIT} of the registered model is missing: a cut-off end would not show")
        if self.run and self.end.get("run", self.run) != self.run:
            found.append(f"the tag {AUDIT} names run {self.end['run']}, but the log is run {self.run}")
        for number in range(1, last + 1):
            entry = _read(self.lines.get(number, ""))
            problem = self._problem(number, entry, before)
            if problem:
                found.append(f"line {number} {problem}")
            before = (entry or {}).get("sha256", "unknown") if not problem else "unknown"
        return found

    def _problem(self, number: int, entry: dict[str, Any] | None, before: str) -> str:
        if number not in self.lines:
            return "is missing"
        if entry is None or entry.get("sha256") != _digest(entry):
            return "was edited"
        if (entry.get("line"), entry.get("model")) != (number, self.model):
            return f"holds line {entry.get('line')} of model {entry.get('model')}"
        if before not in ("unknown", entry.get("before")):
            return f"does not follow line {number - 1}: one of the two was replaced"
        if number == self.end.get("line") and entry["sha256"] != self.end["sha256"]:
            return f"was replaced: the tag {AUDIT} has another SHA-256"
        return ""


def audit(
    client: MlflowClient, event: str, model: str, tags: Mapping[str, str] | None = None, /, **facts: object
) -> None:
    """Append a line, unless there is one of the same event and facts: a repeated step is recorded once.

    So is an answer that is given again by a step that was interrupted: it differs in its fact ``at`` alone.

    The line goes to the logger ``evermodel.audit`` too, as ``key=value`` pairs. Takes three requests to MLflow.

    Parameters
    ----------
    event
        What is about to happen: ``promotion``, ``rollback``, ``approval``, ``rejection``, ``waiver``, ``transfer``,
        ``traffic``, ``override`` (a version ships in spite of a negative gate or decision); ``foreign alias`` and ``lost end`` record
        that somebody moved the champion's alias, or removed the tag, by hand.
    tags
        Those of the registered model, if they were read just now; one request less.
    facts
        What else is to be known; what is None is left out.

    Raises
    ------
    RegistryConflictError
        Other processes took every number that was tried.
    """
    from mlflow.exceptions import MlflowException

    kept = {key: str(value) for key, value in facts.items() if value is not None}
    patience = time.monotonic() + _WRITER_SECONDS
    read_again = False
    for _ in range(_TRIES):
        log, tags = _open(client, model, tags), None  # another try reads them again
        if len(log.lines) == 1 and not log.end and time.monotonic() < patience:
            time.sleep(0.1)  # whoever wrote the first line is about to write the tag
            continue
        if log.lost_end and not read_again:
            read_again = True  # the tag may have been read before the lines
            continue
        if log.lost_end and event != "lost end":
            audit(client, "lost end", model, after=max(log.lines))
            continue
        number, before = log.next_line()
        entry = _sealed(number, before, event, model, kept)
        if _is_written(log, event, entry["facts"]):
            if before and number - 1 > log.end.get("line", 0):  # its writer was interrupted before the tag
                _mark_end(client, model, {"line": number - 1, "sha256": before, "run": log.run})
            return
        try:
            client.log_param(log.run, str(number), json.dumps(entry))
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            continue  # another process has written this number
        _mark_end(client, model, {"line": number, "sha256": entry["sha256"], "run": log.run})
        pairs = {"event": event, "model": model, **kept, "line": number, "sha256": entry["sha256"]}
        LOG.info(" ".join(f"{key}={_written(value)}" for key, value in pairs.items()))
        return
    raise RegistryConflictError(
        f"model {model}: the audit log takes no line, other processes write without end", "repeat the command"
    )


def read_audit_log(client: MlflowClient, model: str) -> AuditLog:
    """Read a model's audit log."""
    return AuditLog.of(model, _find(client, f"{model}-audit"), RegistryEntry.read(client, model).tags)


def verify(client: MlflowClient, entry: RegistryEntry) -> tuple[AuditLog, list[str]]:
    """Compare a model's audit log with itself, with the champions' history and with the alias.

    Returns
    -------
    The log, and what is wrong: lines that were tampered with, promotions without a line, lines without a promotion, and
    an alias that was moved by hand.
    """
    log = AuditLog.of(entry.name, _find(client, f"{entry.name}-audit"), entry.tags)
    found, lines = log.problems(), list(log.entries())
    written = {e["facts"].get("run_key"): e for e in lines if e["event"] in ("promotion", "rollback")}
    records = {record.promotion.run_key: record.promotion for record in entry.records}
    first = min((line["line"] for key, line in written.items() if key in records), default=0)
    for key, line in written.items():
        if line["line"] < first and len(records) >= registry_entry.KEPT_RECORDS:
            continue  # its record was old, and is deleted
        if key not in records or records[key].version != line["facts"].get("version"):
            found.append(f"line {line['line']}: the registry has no such {line['event']} in its history")
    for promotion in entry.promotions:
        if lines and promotion.run_key not in written and promotion.at > lines[0]["time"]:
            found.append(f"the {promotion.kind} of version {promotion.version} at {promotion.at} has no line")
    return log, [*found, *filter(None, [entry.foreign_alias])]


def _open(client: MlflowClient, model: str, tags: Mapping[str, str] | None) -> AuditLog:
    """Read the log to write its next line: from the run that the tag names, else from the one of the experiment."""
    known = RegistryEntry.read(client, model).tags if tags is None else tags
    run = _named(client, _end(known.get(AUDIT, "{}"))) or _find_or_make(client, f"{model}-audit")
    return AuditLog.of(model, run, known)


def _named(client: MlflowClient, end: Mapping[str, Any]) -> Run | None:
    """Return the run that the tag names, unless it is gone or does not hold the tag's line."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(str(end["run"]))
    except (MlflowException, KeyError):
        return None
    line = _read(run.data.params.get(str(end["line"]), "")) or {}
    audits = run.info.lifecycle_stage == "active" and run.data.tags.get(KIND) == "audit"
    return run if audits and line.get("sha256") == end["sha256"] else None


def _find(client: MlflowClient, experiment: str) -> Run | None:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return None
    runs = client.search_runs(
        [found.experiment_id],
        filter_string=f"tags.`{KIND}` = 'audit'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return runs[0] if runs else None


def _find_or_make(client: MlflowClient, experiment: str) -> Run:
    """Find the run or make it; MLflow takes an experiment's name once, and whoever created it makes the run."""
    from mlflow.exceptions import MlflowException

    deadline = time.monotonic() + _WRITER_SECONDS
    while True:
        run = _find(client, experiment)
        if run is not None:
            return run
        try:
            identity = client.create_experiment(experiment)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            known = client.get_experiment_by_name(experiment)  # its creator died
            assert known is not None
            identity = known.experiment_id
        client.create_run(identity, tags={KIND: "audit"}, run_name=experiment)


def _mark_end(client: MlflowClient, model: str, end: Mapping[str, Any]) -> None:
    with ignoring("RESOURCE_DOES_NOT_EXIST"):  # an approval may be waived before the first version
        client.set_registered_model_tag(model, AUDIT, json.dumps(stamped(end), sort_keys=True))


def _is_written(log: AuditLog, event: str, facts: Mapping[str, str]) -> bool:
    """Tell whether the log has a line; an answer about a version that is given once more, only later, is the same one."""
    if any((entry["event"], entry["facts"]) == (event, facts) for entry in log.entries()):
        return True
    answers = [
        entry
        for entry in log.entries()
        if entry["event"] in _ANSWERS and entry["facts"].get("version") == facts.get("version")
    ]
    return (
        event in _ANSWERS
        and bool(answers)
        and (answers[-1]["event"], {**answers[-1]["facts"], "at": ""}) == (event, {**facts, "at": ""})
    )


def _sealed(number: int, before: str, event: str, model: str, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return a line with its SHA-256, its longest facts cut so that MLflow takes it."""
    kept, longest = dict(facts), max(map(len, facts.values()), default=0)
    while len(json.dumps(kept)) > _LONGEST:
        longest = longest * 3 // 4
        kept = {key: value[:longest] for key, value in kept.items()}
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    acting = {"os_user": os_user(), "host": socket.gethostname()}
    entry = {"line": number, "before": before, "time": now, "event": event, "model": model, "facts": kept}
    whole = stamped({**entry, **acting})
    return {**whole, "sha256": _digest(whole)}


def _digest(entry: Mapping[str, Any]) -> str:
    return json_digest({k: v for k, v in entry.items() if k != "sha256"})


def _end(text: str) -> dict[str, Any]:
    try:
        end = loads(text, f"tag {AUDIT}")
    except NewerFormatError:
        raise
    except (ValueError, AttributeError):
        return {}
    return end if type(end.get("line")) is int and isinstance(end.get("sha256"), str) else {}


def _read(text: str) -> dict[str, Any] | None:
    try:
        loads(text, "a line of the audit log")
        entry: dict[str, Any] = json.loads(text)
        parse_moment(entry["time"])
    except NewerFormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    facts = entry.get("facts")
    plain = isinstance(facts, dict) and all(isinstance(value, str) for value in facts.values())
    return entry if plain and "event" in entry and "line" in entry else None


def _written(value: object) -> str:
    """Return a value as one word.

    >>> _written("go"), _written("a new season"), _written('two\\nlines')
    ('go', '"a new season"', '"two\\\\nlines"')
    """
    text = str(value)
    plain = bool(text) and not any(c.isspace() or c in '"=\\' or not c.isprintable() for c in text)
    return text if plain else json.dumps(text)
