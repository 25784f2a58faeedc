"""The message that says that an earlier version serves again."""

from __future__ import annotations

from collections.abc import Mapping

from evermodel.alerts.blocks import fields, section
from evermodel.alerts.message import Message, compose
from evermodel.alerts.text import moment, words
from evermodel.registry.registry_entry import Promotion


def rollback_message(model: str, done: Promotion, links: Mapping[str, str], stopped: str = "") -> Message:
    """Build the message about a rollback.

    Parameters
    ----------
    done
        The line that it left in the registry's history.
    links
        Label and address of the version and the run.
    stopped
        Version whose rollout was under way and ended with it; empty if there was none.

    Returns
    -------
    The message; its key is the same for one rollback.
    """
    said = f"Version {done.version} is champion again, version {done.previous} no longer serves."
    if stopped:
        said += f" The rollout of version {stopped} is stopped."
    return compose(
        key=f"rollback-{done.run_key}",
        model=model,
        severity="warning",
        title=f"{model}: rolled back to version {done.version}",
        plain=[said, f"Why: {done.reason}", f"By {done.by} at {moment(done.at)}."],
        body=[
            section(words(said)),
            fields(
                {"Why": words(done.reason, 600), "By": words(done.by, 100), "At": words(moment(done.at), 60)}
            ),
        ],
        links=links,
        footer="serving processes follow within seconds",
    )
