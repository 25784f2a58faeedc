"""The program's log in logfmt, one line an event, for evermodel's and uvicorn's events."""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime

_FRAMES = 8


class Logfmt(logging.Formatter):
    """``time=… level=… logger=… event=…``; other messages are in ``message="…"``.

    An exception is logged with its type and places, never its text, which may hold values of a request.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as one line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        message = record.getMessage()
        if not message.startswith("event="):
            message = f"message={_quoted(message)}"
        line = f"time={at} level={record.levelname} logger={record.name} {_one_line(message)}"
        if record.exc_info and record.exc_info[1] is not None:
            line += _exception(record.exc_info[1])
        return line


def write_lines(level: int = logging.INFO) -> None:
    """Write all log records of this process to standard error, in this format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # They log every request to the registry.
    for name in ("httpx", "httpcore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _exception(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " > ".join(f"{frame.filename}:{frame.lineno}" for frame in frames)
    return f' error={type(error).__name__} trace="{places}"'


def _quoted(value: object) -> str:
    text = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")
