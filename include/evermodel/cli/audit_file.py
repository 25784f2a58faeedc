"""The audit log of the command line: lines of a file in ``EVERMODEL_HOME``."""

from __future__ import annotations

import logging

import typer

from evermodel.core.audit import LOG

AUDIT_FILE = "audit.log"


class AuditFile(logging.Handler):
    """Appends each line with its time; a failed write is reported and undoes nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line."""
        from evermodel.core.settings import Settings
        from evermodel.serving.lines import Logfmt

        file = Settings.from_environment().home / AUDIT_FILE
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(Logfmt().format(record) + "\n")
        except OSError as error:
            typer.echo(f"The audit log {file} could not be written: {error}", err=True)


def keep_audit(context: typer.Context) -> None:
    """Append audit lines to the file while a command runs, and keep them off the screen."""
    handler, before = AuditFile(), LOG.propagate
    LOG.setLevel(logging.INFO)
    LOG.addHandler(handler)
    LOG.propagate = False  # MLflow's migrations give the root logger a handler of their own

    def close() -> None:
        LOG.removeHandler(handler)
        LOG.propagate = before

    context.call_on_close(close)
