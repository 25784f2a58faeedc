"""Plain files by day of another folder become part of a table, each once, whoever is killed on the way."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.atomic import place, write_text
from evermodel.core.errors import StorageUnavailableError
from evermodel.core.formats import JsonData, loads, stamped
from evermodel.core.storage import StoragePath, local_copy, path_in
from evermodel.data.day_table import DayTable
from evermodel.data.delta_log import Change, TableState
from evermodel.data.snapshots.dvc import file_md5
from evermodel.data.table_file import TableFile, plain_files

if TYPE_CHECKING:
    import pyarrow as pa

_KEY = "takeover"  # of the commits, which count up


@dataclass
class TakenOver:
    """How many files were added, how many were there already, and which stay out, with the reason."""

    added: int = 0
    present: int = 0
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Note(JsonData):
    """What was committed, and what the next commit adds: noted before it, so that a repetition knows of it.

    The table itself could not tell for long: compaction replaces its files.
    """

    commits: int = 0
    files: tuple[str, ...] = ()
    begun: tuple[str, ...] = ()

    @property
    def ended(self) -> _Note:
        return _Note(self.commits + 1, (*self.files, *self.begun))


@dataclass(frozen=True)
class DaysTakeover:
    """Adds the plain files of a folder to a table.

    Parameters
    ----------
    root
        The folder; it stays as it is.
    note
        File that keeps which of its files the table has.
    """

    root: Path
    table: DayTable
    note: StoragePath

    def run(self) -> TakenOver:
        """Copy the files, compare them, and commit them at once.

        Raises
        ------
        StorageUnavailableError
            The store does not answer, or has not what was written.
        """
        plain = sorted(plain_files(self.root), key=lambda file: file.order)
        # The table is there before its files: whoever makes one takes all plain files below it.
        self.table.commit(_columns(plain), lambda state: None)
        note, taken = self._noted(), TakenOver()
        kept, known = self._sorted_out([file for file in plain if self._name(file) not in note.files], taken)
        taken.present = len(plain) - len(kept) - len(taken.left)
        for file in kept:
            self._copy(file)
        if kept or known:
            begun = _Note(note.commits, note.files, (*known, *map(self._name, kept)))
            self._write(begun)
            self._commit(kept, note.commits + 1)
            self._write(begun.ended)
        taken.added = len(kept)
        return taken

    def _sorted_out(self, new: list[TableFile], taken: TakenOver) -> tuple[list[TableFile], list[str]]:
        """Return the files to add, and the names of those that the table has."""
        present = {path_in(self.table.root, file.path): file for file in self.table.files()}
        scored = {file.day for file in present.values() if file.source == "batch"}
        kept: list[TableFile] = []
        for file in new:
            if self._name(file) in present:
                continue
            if file.source == "batch" and file.day in scored:
                taken.left.append(f"{file.path}: {self.table.root} has rows of that day, which stay")
            else:
                kept.append(file)
        return kept, [self._name(file) for file in new if self._name(file) in present]

    def _commit(self, files: list[TableFile], number: int) -> None:
        entries = [
            TableFile(self._target(file), file.day, file.source).entry(self.table.root) for file in files
        ]

        def plan(state: TableState) -> Change | None:
            done = not entries or state.last_number(_KEY) >= number
            return None if done else Change(entries, (), {_KEY: number})

        self.table.commit(_columns(files), plan)

    def _copy(self, file: TableFile) -> None:
        assert isinstance(file.path, Path)
        target = self._target(file)
        if not target.exists() or not same_content(file.path, target):
            place_checked(file.path, target)

    def _noted(self) -> _Note:
        """Return the note, after the commit of one that was interrupted is looked for."""
        try:
            found = _Note.from_json(loads(self.note.read_text(encoding="utf-8"), self.note))
        except FileNotFoundError:
            return _Note()
        if found.begun and self._last_commit > found.commits:
            return found.ended
        return _Note(found.commits, found.files)

    @cached_property
    def _last_commit(self) -> int:
        numbers: list[int] = []

        def look(state: TableState) -> None:
            numbers.append(state.last_number(_KEY))

        self.table.commit(_columns([]), look)
        return numbers[-1]

    def _write(self, note: _Note) -> None:
        write_text(self.note, json.dumps(stamped(note.to_json())))

    def _target(self, file: TableFile) -> StoragePath:
        return self.table.root.joinpath(*Path(self._name(file)).parts)

    def _name(self, file: TableFile) -> str:
        return path_in(self.root, file.path)


def place_checked(file: Path, target: StoragePath) -> None:
    """Copy a file, and compare the copy's checksum; raises `StorageUnavailableError` if it is another."""
    place(file, target)
    if not same_content(file, target):
        raise StorageUnavailableError(f"{target} is not what was written to it from {file}", "run this again")


def same_content(file: Path, target: StoragePath) -> bool:
    """Tell whether a file and another one have the same size and checksum."""
    if file.stat().st_size != target.stat().st_size:
        return False
    with local_copy(target) as copy:
        return file_md5(file) == file_md5(copy)


def _columns(files: list[TableFile]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(list({field.name: field for file in files for field in file.schema()}.values()))
