"""The queue of earlier releases, files in the lake: taken over into the database, whoever is killed on the way."""

from __future__ import annotations

import logging
from pathlib import Path

from evermodel.alerts.queue_table import append, changing, read_message, receipt, write_receipt
from evermodel.alerts.queued_message import Destination
from evermodel.core.database.database import Database
from evermodel.core.database.lease import leased
from evermodel.core.errors import NewerFormatError
from evermodel.core.formats import loads

_DESTINATION = "lane.json"
_TAKEN = "taken over/"  # keys of receipts that say which file is in the database
_log = logging.getLogger(__name__)


def take_over(folder: Path, database: Database) -> None:
    """Move the files of a queue into the database: receipts first, then messages in their order.

    A message and the note that its file is in the database are one transaction, and the file goes after it: repeated after
    a kill, nothing is lost or queued twice. What cannot be read goes to `unreadable/` beside it. Refused messages stay.
    """
    if next(folder.glob(f"*/{_DESTINATION}"), None) is None:
        return
    with leased(database, "messages"):
        for file in sorted(folder.glob(f"*/{_DESTINATION}")):
            destination = _destination(file)
            if destination is not None:
                _take_receipts(file.parent, destination, database)
                _take_messages(file.parent, destination, database)
                file.unlink()


def _destination(file: Path) -> Destination | None:
    try:
        return Destination(**loads(file.read_text(encoding="utf-8"), file))
    except FileNotFoundError:
        return None  # another process has taken it over
    except NewerFormatError:
        raise
    except (ValueError, TypeError, AttributeError) as error:
        _put_aside(file, error)
        return None


def _take_receipts(folder: Path, destination: Destination, database: Database) -> None:
    for file in sorted(folder.glob("sent/*.json"), key=lambda file: file.stat().st_mtime_ns):
        try:
            stored = loads(file.read_text(encoding="utf-8"), file)
            key, delivery = str(stored["key"]), dict(stored["delivery"])
        except NewerFormatError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _put_aside(file, error)
            continue
        with changing(database, destination) as connection:
            if receipt(connection, destination, key) is None:
                write_receipt(connection, destination, key, delivery)
        file.unlink()


def _take_messages(folder: Path, destination: Destination, database: Database) -> None:
    for file in sorted(folder.glob("waiting/*.json")):
        text, image = file.read_text(encoding="utf-8", errors="replace"), file.with_suffix(".png")
        if read_message(text) is None:
            _put_aside(file, ValueError("it is not a message"))
            continue
        with changing(database, destination) as connection:
            if receipt(connection, destination, _TAKEN + file.stem) is None:
                append(connection, destination, text, image.read_bytes() if image.exists() else None)
                write_receipt(connection, destination, _TAKEN + file.stem, {})
        image.unlink(missing_ok=True)
        file.unlink()


def _put_aside(file: Path, error: Exception) -> None:
    aside = file.parent / "unreadable"
    aside.mkdir(exist_ok=True)
    _log.error("%s cannot be read, and is now in %s: %s", file, aside, error)
    file.replace(aside / file.name)
