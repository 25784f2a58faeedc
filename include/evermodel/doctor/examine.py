"""Run every check beside the others, each with a time limit: what hangs is a finding too."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points

from evermodel.doctor.clock import check_clock
from evermodel.doctor.finding import Check, Finding, first_line
from evermodel.doctor.lake import check_lake, check_remote
from evermodel.doctor.serving import check_serving
from evermodel.doctor.specs import check_specs
from evermodel.doctor.tracking import check_tracking
from evermodel.doctor.versions import check_versions
from evermodel.settings import Settings

# Other layers add their checks under this name: Airflow's and Slack's come from the provider.
GROUP = "evermodel.doctor"
_OURS: dict[str, Check] = {
    "versions": check_versions,
    "specs": check_specs,
    "lake": check_lake,
    "DVC remote": check_remote,
    "MLflow": check_tracking,
    "serving": check_serving,
    "clock": check_clock,
}


def all_checks() -> dict[str, Check]:
    """Return every check by the name of what it looks at."""
    return {**_OURS, **{entry.name: entry.load() for entry in entry_points(group=GROUP)}}


def examine(
    settings: Settings, checks: Mapping[str, Check], seconds: float = 30.0
) -> Iterator[tuple[str, list[Finding]]]:
    """Run checks beside each other, and yield what each found, in their order.

    Parameters
    ----------
    checks
        By name.
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
            "look whether what it talks to is up; evermodel doctor --timeout gives it longer",
        )
        yield name, found.get(name, [late])


def _run(name: str, check: Check, settings: Settings, found: dict[str, list[Finding]]) -> None:
    try:
        found[name] = list(check(settings))
    except Exception as error:  # noqa: BLE001 - one broken check must not hide what the others found
        said = f"the check itself failed: {first_line(error)}"
        found[name] = [Finding(name, "red", said, "please report this; the other checks do not depend on it")]
