"""A check of names that people write in code, with the nearest valid one in the error."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from evermodel.core.errors import PermanentError


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
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise PermanentError(f"{place}: {name!r} is unknown{hint}", f"use one of {', '.join(known)}")
