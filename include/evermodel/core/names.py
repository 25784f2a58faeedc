"""Names that people write: the nearest valid one, for the error about an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence

from evermodel.core.errors import PermanentError


def did_you_mean(
    name: object, known: Sequence[str], *, cutoff: float = 0.5, shown: Callable[[str], str] = str
) -> str:
    """Return a question about the nearest valid name, to follow a statement; empty if none is near.

    Parameters
    ----------
    cutoff
        How alike two names must be, between 0 and 1.
    shown
        How the name is written.

    >>> did_you_mean("retrian", ["drift", "retrain"])
    '; did you mean retrain?'
    """
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=cutoff)
    return f"; did you mean {shown(near[0])}?" if near else ""


def require_known(place: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise if a name is unknown.

    Parameters
    ----------
    place
        Where the names are written, for the message.

    Raises
    ------
    PermanentError
        With the nearest valid name, and all of them.

    >>> require_known("kinds", ["retrian"], ["drift", "retrain"])
    Traceback (most recent call last):
        ...
    evermodel.core.errors.PermanentError: kinds: 'retrian' is unknown; did you mean 'retrain'?
      What to do: use one of drift, retrain
    """
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known, shown=repr)
            raise PermanentError(f"{place}: {name!r} is unknown{hint}", f"use one of {', '.join(known)}")
