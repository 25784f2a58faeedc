"""Epochs that an interrupted fit has behind it: written by the process that waits for it, read when it runs again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field

from evermodel.core.atomic import replacing
from evermodel.core.storage import StoragePath, files_in


@dataclass(frozen=True)
class KeptEpoch:
    """What a fit has after an epoch, under a name that the same fit will ask for."""

    name: str
    content: bytes


@dataclass(frozen=True)
class EpochStore:
    """The kept epochs of one candidate of one retrain.

    Parameters
    ----------
    folder
        Where they are: in the lake, so that another machine can go on.
    """

    folder: StoragePath

    def read(self) -> dict[str, bytes]:
        """Return the content of each, by name."""
        return {path.name: path.read_bytes() for path in files_in(self.folder, "*") if path.name[0] != "."}

    def write(self, epoch: KeptEpoch) -> None:
        """Write one, in the place of an earlier one of its name."""
        with replacing(self.folder / epoch.name) as temporary:
            temporary.write_bytes(epoch.content)

    def clear(self) -> None:
        """Delete them; the model that they led to is stored."""
        for path in files_in(self.folder, "*"):
            path.unlink(missing_ok=True)
        with suppress(OSError, AttributeError):
            self.folder.rmdir()  # type: ignore[union-attr] # a bucket has none


def _forgotten(epoch: KeptEpoch) -> None:
    """Keep nothing."""


@dataclass(frozen=True)
class Keeper:
    """What a fit asks for its epochs, and hands new ones to."""

    known: Mapping[str, bytes] = field(default_factory=dict)
    keep: Callable[[KeptEpoch], None] = _forgotten


_KEEPER: ContextVar[Keeper] = ContextVar("epochs_keeper", default=Keeper())  # noqa: B039 - never changed


def keeper() -> Keeper:
    """Return the keeper of the fits in this context."""
    return _KEEPER.get()


@contextmanager
def keeping_epochs(known: Mapping[str, bytes], keep: Callable[[KeptEpoch], None]) -> Iterator[None]:
    """Let the fits of this block go on from known epochs, and hand over theirs."""
    token = _KEEPER.set(Keeper(known, keep))
    try:
        yield
    finally:
        _KEEPER.reset(token)
