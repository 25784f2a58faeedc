"""The result of a check: green, yellow or red, with advice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evermodel.core.settings import Settings

Level = Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Parameters
    ----------
    name
        What was checked.
    level
        ``green``: correct; ``yellow``: works, but needs attention; ``red``: does not work.
    said
        What was found.
    advice
        What to do; never empty where the level is not green.
    """

    name: str
    level: Level
    said: str
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)


Check = Callable[[Settings], Iterable[Finding]]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    said = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
