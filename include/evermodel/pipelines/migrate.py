"""Move the folder of an earlier release to this installation's lake and database; the folder stays as it is."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from evermodel.alerts.publisher import message_queue
from evermodel.core.atomic import write_text
from evermodel.core.database.lease import leased
from evermodel.core.database.schema import open_database
from evermodel.core.errors import SettingsError
from evermodel.core.formats import JsonData, loads, stamped
from evermodel.core.paths import inside
from evermodel.core.settings import Settings
from evermodel.core.storage import StoragePath, path_in, storage_path
from evermodel.data.day_table import DayTable
from evermodel.data.prediction_log import LOGS
from evermodel.data.snapshots.dvc import file_md5, pointer_md5
from evermodel.data.table_takeover import DaysTakeover, place_checked, same_content
from evermodel.registry.serving_reports import ServingReports

_LABELS = "labels"
_QUEUE, _REPORTS, _SERVED = "messages", "serving/reports", "serving/served"
_STATE = (f"{_QUEUE}/", f"{_REPORTS}/", f"{_SERVED}/")  # what the database keeps now
_NOTES = "migrated"  # folder of the lake: what was moved, for whoever runs this again


@dataclass
class Moved(JsonData):
    """What became of one kind of things, such as labels.

    Parameters
    ----------
    items, size
        How many the folder has, and their bytes.
    moved, present
        Items that were moved by this run, and that were there already, with the same content.
    left
        Items that are not moved, each with the reason.
    """

    kind: str
    items: int = 0
    size: int = 0
    moved: int = 0
    present: int = 0
    left: list[str] = field(default_factory=list)


class Migration:
    """A folder of an earlier release, and where its content belongs.

    Every item is compared by its checksum at its new place before it counts as moved. Killed anywhere and run again, it
    goes on: nothing is moved twice. Nothing of the folder is changed.

    Parameters
    ----------
    source
        The earlier release's lake.
    settings
        This installation's lake, database and DVC remote.
    remote
        Folder of the earlier release's DVC remote, for snapshots that its lake no longer has.

    Raises
    ------
    SettingsError
        The source is no folder, or is the lake itself.
    UnsafePathError
        A symbolic link in the source leads out of it.
    """

    def __init__(self, source: Path, settings: Settings, remote: Path | None = None) -> None:
        self.source, self.settings, self.remote = source.absolute(), settings, remote
        if not source.is_dir():
            raise SettingsError(f"{source} is no folder", "name the lake of the earlier release")
        if settings.lake == self.source:
            raise SettingsError(
                f"{source} is this installation's lake, and is read as it is",
                "set EVERMODEL_LAKE to the new lake, a bucket or another folder",
            )
        self.kinds: dict[str, Moved] = {}

    def found(self) -> list[Moved]:
        """Return what the folder has, and move nothing."""
        for file in self._files():
            self._count(self._kind(file), file)
        return self._said()

    def run(self, step: Callable[[str], None] = lambda name: None) -> list[Moved]:
        """Move everything.

        Parameters
        ----------
        step
            Is given the name of each kind before it is moved.

        Raises
        ------
        StorageUnavailableError
            The store does not answer, or has not what was written.
        DatabaseUnavailableError
            The database does not answer.
        LeaseHeldError
            Another process migrates.
        """
        files: dict[str, list[Path]] = {}
        for file in self._files():
            self._count(self._kind(file), file)
            files.setdefault(self._kind(file), []).append(file)
        database = open_database(self.settings.database_url)
        with leased(database, "migration", wait=10):
            for kind, found in files.items():
                step(kind)
                if kind in (*LOGS, _LABELS):
                    self._move_logs(kind, found)
                elif kind == _QUEUE:
                    self._move_queue(found)
                elif kind == "serving":
                    self._move_serving(found)
                else:
                    self._move_files(kind, found)
        return self._said()

    def _files(self) -> Iterator[Path]:
        """Yield the files of the folder, in the order of their paths, without locks and what was never finished."""
        for file in sorted(self.source.rglob("*")):
            parts = file.relative_to(self.source).parts
            hidden = any(part.startswith(".") for part in parts)
            inside(self.source, *parts)  # what a link shows of this machine is none of the lake's content
            if file.is_file() and not hidden and file.suffix not in (".tmp", ".lock") and len(parts) > 1:
                yield file

    def _kind(self, file: Path) -> str:
        return file.relative_to(self.source).parts[0]

    def _count(self, kind: str, file: Path) -> None:
        counted = self.kinds.setdefault(kind, Moved(kind))
        counted.items += 1
        counted.size += file.stat().st_size

    def _said(self) -> list[Moved]:
        return list(self.kinds.values())

    def _target(self, file: Path) -> StoragePath:
        return self.settings.lake.joinpath(*file.relative_to(self.source).parts)

    def _move_files(self, kind: str, files: list[Path]) -> None:
        for file in files:
            if kind == "snapshots" and not self._move_content(file):
                continue
            self._move(kind, file, self._target(file))

    def _move(self, kind: str, file: Path, target: StoragePath) -> bool:
        """Copy a file unless it is there, and compare; tell whether its content is there."""
        counted = self.kinds[kind]
        if target.exists():
            if same_content(file, target):
                counted.present += 1
                return True
            counted.left.append(f"{target} has other content, which stays")
            return False
        place_checked(file, target)
        counted.moved += 1
        return True

    def _move_content(self, file: Path) -> bool:
        """Put a snapshot's content where its pointer leads; tell whether the file itself has a place in the lake."""
        counted, in_folder = self.kinds["snapshots"], isinstance(self.settings.lake, Path)
        if file.suffix != ".dvc":
            pointed = file.with_name(f"{file.name}.dvc").exists()
            if not in_folder and not pointed:
                counted.left.append(f"{file} has no pointer: the retrain that wrote it was never finished")
            elif not in_folder:
                counted.items -= 1  # it goes with its pointer
            return in_folder
        snapshot = file.with_suffix("")
        md5 = pointer_md5(snapshot)
        content = None if md5 is None else self._content(snapshot, md5)
        if md5 is None or content is None:
            counted.left.append(f"{file}: its content is neither in the lake nor in the remote (--remote)")
            return False
        try:
            remote = storage_path(self.settings.dvc_remote, "EVERMODEL_DVC_REMOTE")
        except SettingsError:
            if in_folder:
                counted.left.append(f"{snapshot}: push it to {self.settings.dvc_remote} by `dvc push`")
                return True
            raise
        target = remote / "files" / "md5" / md5[:2] / md5[2:]
        if not target.exists() or not same_content(content, target):
            place_checked(content, target)
        return True

    def _content(self, snapshot: Path, md5: str) -> Path | None:
        cached = self.source / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]
        places = [snapshot, cached]
        if self.remote is not None:
            places.append(self.remote / "files" / "md5" / md5[:2] / md5[2:])
        return next((found for found in places if found.exists() and file_md5(found) == md5), None)

    def _move_logs(self, kind: str, files: list[Path]) -> None:
        by_model: dict[str, list[Path]] = {}
        for file in files:
            by_model.setdefault(file.relative_to(self.source / kind).parts[0], []).append(file)
        for model, mine in by_model.items():
            root = self.source / kind / model
            if (root / "_delta_log").is_dir():
                self._move_table(kind, mine, DayTable(self.settings.lake / kind / model))
            elif kind == _LABELS:  # the next reading takes the files over
                self._move_files(kind, mine)
            else:
                self._move_days(kind, model, root)

    def _move_table(self, kind: str, files: list[Path], table: DayTable) -> None:
        """Copy a table, its log last; one that the new lake has already stays."""
        for file in sorted(files, key=lambda file: ("_delta_log" in file.parts, file.name)):
            if not self._move(kind, file, self._target(file)):
                return

    def _move_days(self, kind: str, model: str, root: Path) -> None:
        counted, table = self.kinds[kind], DayTable(self.settings.lake / kind / model)
        found = DaysTakeover(root, table, self.settings.lake / _NOTES / kind / f"{model}.json").run()
        counted.moved += found.added
        counted.present += found.present
        counted.left += found.left

    def _move_queue(self, files: list[Path]) -> None:
        """Have a copy of the queue taken over; its messages stay in their order."""
        counted, note = self.kinds[_QUEUE], self.settings.lake / _NOTES / "messages.json"
        done = _notes_of(note)
        waiting = [file for file in files if path_in(self.source, file) not in done]
        counted.present = len(files) - len(waiting)
        refused = [file for file in waiting if file.parent.name in ("refused", "unreadable")]
        counted.left += [f"{file}: it was put aside, and is not sent" for file in refused]
        with tempfile.TemporaryDirectory(prefix="evermodel-migrate-") as folder:
            copy = Path(folder) / _QUEUE
            for file in [*files] if waiting else []:
                if file in refused or (file not in waiting and file.name != "lane.json"):
                    continue
                target = copy / file.relative_to(self.source / _QUEUE)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target)
            replace(message_queue(self.settings), folder=copy).destinations()  # which takes it over
            broken = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("unreadable/*"))
        counted.left += [f"{self.source / _QUEUE}/{name}: it cannot be read" for name in broken]
        counted.moved = len(waiting) - len(refused) - len(broken)
        if waiting:
            write_text(note, json.dumps(stamped({"files": [path_in(self.source, file) for file in files]})))

    def _move_serving(self, files: list[Path]) -> None:
        """Have a copy of the reports taken over; the counters of scrapes are files of the lake."""
        kept = [file for file in files if path_in(self.source, file).startswith(_STATE)]
        self._move_files("serving", [file for file in files if file not in kept])
        with tempfile.TemporaryDirectory(prefix="evermodel-migrate-") as folder:
            for file in kept:
                target = Path(folder) / file.relative_to(self.source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, target)
            reports = ServingReports(self.settings.database_url, Path(folder) / "serving")
            for model in sorted({file.parent.name for file in kept}):
                reports.read(model)
                reports.served(model)
        self.kinds["serving"].moved += len(kept)


def _notes_of(file: StoragePath) -> set[str]:
    """Return the files of the queue that are in the database."""
    try:
        return set(loads(file.read_text(encoding="utf-8"), file)["files"])
    except FileNotFoundError:
        return set()
