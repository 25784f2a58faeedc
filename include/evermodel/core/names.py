"""Names that people write: the nearest valid one, for the error about an unknown one; those that are paths."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from pathlib import PureWindowsPath

from evermodel.core.errors import PermanentError, UnsafePathError

_LONGEST = 255  # bytes of one name, on common file systems


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


def require_plain(folder: str, name: str) -> None:
    """Refuse a name that is no plain path below a folder; see `evermodel.core.paths.inside`."""
    if problem := _problem(name):
        raise UnsafePathError(
            f"{folder}: {name[:100]!r} {problem}",
            "correct the name where it is set: a tag, a spec or an argument",
        )


def _problem(name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    if not name or name.startswith("/") or any(PureWindowsPath(part).drive for part in parts):
        return "is not a relative path"
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        return "holds a character that no path may have"
    if any(part in ("", ".", "..") for part in parts):
        return "is not a plain path: it holds an empty part, '.' or '..'"
    if any(len(part.encode()) > _LONGEST for part in parts):
        return f"has a part of more than {_LONGEST} bytes"
    return ""
