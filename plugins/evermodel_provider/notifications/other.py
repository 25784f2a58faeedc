"""Delivery of messages to any Airflow notifier that a spec names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from evermodel.alerts.message import Message
from evermodel.alerts.queued_message import Delivery, NoHistoryError
from evermodel.core.errors import PermanentError
from evermodel.spec.alerts import NotifierSpec

_NAME = re.compile(r"\{(title|text|severity|model|url)\}")


@dataclass(frozen=True)
class OtherNotifier:
    """Calls an Airflow notifier with the arguments of the spec.

    Parameters
    ----------
    declared
        Import path and arguments, as in the current spec: a correction there also applies to the
        queued messages.
    """

    declared: NotifierSpec

    def post(
        self,
        message: Message,
        *,
        event: str = "",
        url: str = "",
        thread: Delivery | None = None,
        broadcast: bool = False,
    ) -> Delivery:
        """Build the notifier and call it.

        Its Jinja templates are not rendered, because the texts contain names from the data.
        """
        values = {
            "title": message.plain_title,
            "text": message.text,
            "severity": message.severity,
            "model": message.model,
            "url": url,
        }
        made = _load(self.declared.notifier)(**_filled(self.declared.arguments, values))
        made.notify({"evermodel_event": event})
        return {"kind": "notifier", "channel": self.declared.notifier, "ts": "", "path": ""}

    def replace(self, delivery: Delivery, message: Message) -> Delivery:
        """Do nothing: a notifier cannot change a sent message."""
        return delivery

    def find(self, message: Message, *, thread: Delivery | None, since: datetime) -> Delivery | None:
        """Raise `NoHistoryError`."""
        raise NoHistoryError(f"{self.declared.notifier} keeps no history")

    def show(self, delivery: Delivery, image: Path, message: Message) -> None:
        """Do nothing: a notifier takes no image."""

    def has_image(self, delivery: Delivery) -> bool:
        """Return True: there is none to send."""
        return True


def _load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise PermanentError(
            f"the notifier {path} cannot be imported: {error}",
            "correct alerts.notifiers in the model's YAML, or install its provider; its messages stay queued until then",
        ) from error


def _filled(value: object, values: dict[str, str]) -> Any:
    """Return arguments with the names in braces filled in; other braces are unchanged."""
    if isinstance(value, str):
        # In one pass, so that names in braces inside the data are not filled in.
        return _NAME.sub(lambda found: values[found[1]], value)
    if isinstance(value, dict):
        return {key: _filled(item, values) for key, item in value.items()}
    return [_filled(item, values) for item in value] if isinstance(value, list | tuple) else value
