"""Names that become paths: held inside their own folder, wherever they come from."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

from evermodel.core.errors import UnsafePathError

_LONGEST = 255  # bytes of one name, on common file systems


def inside(folder: Path, *names: str) -> Path:
    """Join names that come from a tag, a spec, an id or a value to a folder, and refuse what leads out of it.

    Each name may have several parts (``snapshots/churn/a.parquet``); symbolic links below the folder are followed, and
    have to stay in it. Nothing is created.

    Raises
    ------
    UnsafePathError
        A name is empty, absolute, too long, holds ``..``, a drive or a control character, or the path leaves the folder.

    Examples
    --------
    >>> print(inside(Path("lake"), "snapshots/churn", "a.parquet"))
    lake/snapshots/churn/a.parquet
    """
    for name in names:
        if problem := _problem(name):
            raise UnsafePathError(
                f"{folder}: {name[:100]!r} {problem}",
                "correct the name where it is set: a tag, a spec or an argument",
            )
    path = folder.joinpath(*names)
    if not os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), "")):
        raise UnsafePathError(f"{path} leads out of {folder}", "remove the symbolic link")
    return path


def _problem(name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    if not name or name.startswith("/") or PureWindowsPath(name).drive or PureWindowsPath(name).root:
        return "is not a relative path"
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        return "holds a character that no path may have"
    if any(part in ("", ".", "..") for part in parts):
        return "is not a plain path: it holds an empty part, '.' or '..'"
    if any(len(part.encode()) > _LONGEST for part in parts):
        return f"has a part of more than {_LONGEST} bytes"
    return ""
