"""The small JSON files that a stored model keeps beside its pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from evermodel.core.errors import ModelFormatError
from evermodel.core.formats import loads

Kept = TypeVar("Kept")


def read_kept(file: Path, problem: str, read: Callable[[dict[str, Any]], Kept]) -> Kept | None:
    """Return what a file holds; None if the model keeps none.

    Parameters
    ----------
    problem
        What the error says of a damaged file.
    read
        Makes it of the file's JSON.

    Raises
    ------
    ModelFormatError
        The file is damaged.
    """
    if not file.is_file():
        return None
    try:
        return read(loads(file.read_text(encoding="utf-8"), file))
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFormatError(f"{file}: {problem} ({error})", "retrain or roll back") from error
