"""Epochs that an interrupted fit has behind it: written by the process that waits for it, read when it runs again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

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
    model
        Folder of the model's epochs: in the lake, so that another machine can go on.
    retrain, candidate
        Names of the folders in it.
    """

    model: StoragePath
    retrain: str
    candidate: str

    @property
    def folder(self) -> StoragePath:
        """Where they are."""
        return self.model / self.retrain / self.candidate

    def read(self) -> dict[str, bytes]:
        """Return the content of each, by name."""
        return {path.name: path.read_bytes() for path in files_in(self.folder, "*") if path.name[0] != "."}

    def write(self, epoch: KeptEpoch) -> None:
        """Write one, in the place of an earlier one of its name."""
        with replacing(self.folder / epoch.name) as temporary:
            temporary.write_bytes(epoch.content)

    def clear(self) -> None:
        """Delete them, since the model that they led to is stored, and those that other retrains have left behind."""
        mine, retrain = (f"{folder}/" for folder in (self.folder, self.folder.parent))
        kept: list[StoragePath] = [*self.model.rglob("*")]
        for path in sorted(kept, key=str, reverse=True):
            if f"{path}/".startswith(mine) or not f"{path}/".startswith(retrain):
                _delete(path)


def _delete(path: StoragePath) -> None:
    if not isinstance(path, Path) or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    with suppress(OSError):  # another retrain writes into it
        path.rmdir()


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
