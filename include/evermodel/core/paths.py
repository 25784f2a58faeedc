"""Names that become paths: held inside their own folder, wherever they come from."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

from evermodel.core.errors import UnsafePathError

_LONGEST = 255  # bytes of one name, on common file systems


def inside(folder: Path, *names: str, links: bool = False) -> Path:
    """Join names that come from a tag, a spec, an id or a value to a folder, and refuse what leads out of it.

    Each name may have several parts (``churn/a.parquet``). Nothing is created.

    Parameters
    ----------
    links
        Whether symbolic links below the folder may lead out of it: only where the folder is its author's, as for specs.

    Raises
    ------
    UnsafePathError
        A name is empty, absolute, too long, holds ``..``, a drive or a control character, or the path leaves the folder.

    Examples
    --------
    >>> print(inside(Path("cache"), "churn/a.parquet"))
    cache/churn/a.parquet
    """
    for name in names:
        if problem := _problem(name):
            raise UnsafePathError(
                f"{folder}: {name[:100]!r} {problem}",
                "correct the name where it is set: a tag, a spec or an argument",
            )
    path = folder.joinpath(*names)
    if not links and not os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), "")):
        raise UnsafePathError(f"{path} leads out of {folder}", "remove the symbolic link")
    return path


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
