"""Names that become paths: held inside their own folder, wherever they come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import overload

from evermodel.core.errors import UnsafePathError
from evermodel.core.names import require_plain
from evermodel.core.storage import StoragePath


@overload
def inside(folder: Path, *names: str, links: bool = False) -> Path: ...
@overload
def inside(folder: StoragePath, *names: str, links: bool = False) -> StoragePath: ...
def inside(folder: StoragePath, *names: str, links: bool = False) -> StoragePath:
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
        require_plain(str(folder), name)
    path = folder.joinpath(*names)
    if not isinstance(path, Path):
        return path  # a bucket has no links
    if not links and not os.path.realpath(path).startswith(os.path.join(os.path.realpath(str(folder)), "")):
        raise UnsafePathError(f"{path} leads out of {folder}", "remove the symbolic link")
    return path
