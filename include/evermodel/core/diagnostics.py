"""The result of a check: green, yellow or red, with advice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from evermodel.core.formats import JsonData
from evermodel.core.settings import Settings

Level = Literal["green", "yellow", "red"]


@dataclass(frozen=True)
class Finding(JsonData):
    """One line of the doctor's report.

    Parameters
    ----------
    level
        ``green``: correct; ``yellow``: works, but needs attention; ``red``: does not work.
    advice
        What to do; never empty where the level is not green.
    """

    name: str
    level: Level
    said: str
    advice: str = ""


Check = Callable[[Settings], Iterable[Finding]]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    said = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
