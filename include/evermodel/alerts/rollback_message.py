"""The message about a rollback."""

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
        The rollback's line in the registry's history.
    links
        Label and address of the version and the run.
    stopped
        Version whose rollout the rollback stopped; empty if there was none.

    Returns
    -------
    The message; its key is the same for one rollback.
    """
    text = f"Version {done.version} is the champion again, in place of version {done.previous}."
    if stopped:
        text += f" The rollout of version {stopped} is stopped."
    return compose(
        key=f"rollback-{done.run_key}",
        model=model,
        severity="warning",
        title=f"{model}: rolled back to version {done.version}",
        plain=[text, f"Why: {done.reason}", f"By {done.by} at {moment(done.at)}."],
        body=[
            section(words(text)),
            fields(
                {"Why": words(done.reason, 600), "By": words(done.by, 100), "At": words(moment(done.at), 60)}
            ),
        ],
        links=links,
        footer="serving processes follow within seconds",
    )
