"""Run all checks in parallel, each with a time limit; a hanging check is a finding too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points

from evermodel.core.diagnostics import Check, Finding, first_line
from evermodel.core.errors import MissingExtraError
from evermodel.core.extras import named_extras
from evermodel.core.settings import Settings

# Other layers add their checks under this name: Airflow's and Slack's come from the provider.
GROUP = "evermodel.doctor"
_OURS = {
    "versions": "basics:check_versions",
    "specs": "specs:check_specs",
    "lake": "basics:check_lake",
    "database": "database:check_database",
    "DVC remote": "remote:check_remote",
    "MLflow": "tracking:check_tracking",
    "serving": "basics:check_serving",
    "clock": "basics:check_clock",
}


def all_checks() -> dict[str, EntryPoint]:
    """Return the import path of every check, by its name."""
    ours = [EntryPoint(name, f"evermodel.cli.diagnostics.{place}", GROUP) for name, place in _OURS.items()]
    return {entry.name: entry for entry in (*ours, *entry_points(group=GROUP))}


def load_checks(entries: Iterable[EntryPoint]) -> dict[str, Check]:
    """Import checks one after another, with all that each needs at its module's level.

    Two threads that import a package for the first time can block each other for ever where its modules import each
    other, as Airflow's do; so nothing is left to import when `examine` runs the checks side by side. A check that
    cannot be imported becomes one that says so.
    """
    return {entry.name: _load(entry) for entry in entries}


def _load(entry: EntryPoint) -> Check:
    try:
        with named_extras():
            check: Check = entry.load()
    except MissingExtraError as error:
        finding = Finding(entry.name, "red", error.problem, error.advice)
        return lambda _: [finding]
    except Exception as error:  # noqa: BLE001 - one broken package must not hide what the others say
        said = f"it cannot be imported: {first_line(error)}"
        advice = "install missing packages; evermodel doctor --only versions lists wrong versions"
        finding = Finding(entry.name, "red", said, advice)
        return lambda _: [finding]
    return check


def examine(
    settings: Settings, checks: Mapping[str, Check], seconds: float = 30.0
) -> Iterator[tuple[str, list[Finding]]]:
    """Run checks in parallel, and yield their findings in order.

    Parameters
    ----------
    seconds
        The longest that all of them may take; what is not there by then is red.
    """
    found: dict[str, list[Finding]] = {}
    # Not a pool: its threads would keep the process alive as long as the slowest server wants.
    threads = {
        name: threading.Thread(target=_run, args=(name, check, settings, found), daemon=True)
        for name, check in checks.items()
    }
    deadline = time.monotonic() + seconds
    for thread in threads.values():
        thread.start()
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        late = Finding(
            name,
            "red",
            f"no answer within {seconds:.0f} s",
            "check that the service is up, or raise evermodel doctor --timeout",
        )
        yield name, found.get(name, [late])


def _run(name: str, check: Check, settings: Settings, found: dict[str, list[Finding]]) -> None:
    try:
        found[name] = list(check(settings))
    except Exception as error:  # noqa: BLE001 - one broken check must not hide what the others found
        said = f"the check itself failed: {first_line(error)}"
        found[name] = [Finding(name, "red", said, "report this bug; the other checks are unaffected")]
