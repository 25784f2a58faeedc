"""The program's log: one line an event, in logfmt, for our own events and uvicorn's alike."""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

_FRAMES = 8


class Logfmt(logging.Formatter):
    """``time=… level=… logger=… event=…``; whatever is not an event stands in ``message="…"``.

    Of an exception type and places are told, never its text: that may hold what a caller sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Put a record on one line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message = record.getMessage()
        if not message.startswith("event="):
            message = f"message={_quoted(message)}"
        line = f"time={at} level={record.levelname} logger={record.name} {_one_line(message)}"
        if record.exc_info and record.exc_info[1] is not None:
            line += _told(record.exc_info[1])
        return line


def write_lines(level: int = logging.INFO) -> None:
    """Send everything that is logged in this process to standard error, in this form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Each look at the registry would otherwise be a line.
    for name in ("httpx", "httpcore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _told(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " > ".join(f"{frame.filename}:{frame.lineno}" for frame in frames)
    return f' error={type(error).__name__} trace="{places}"'


def _quoted(value: Any) -> str:
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")
