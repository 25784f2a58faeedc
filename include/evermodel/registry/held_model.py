"""A model whose lease this process holds, and the promotion that it began last, kept in the database until it is finished."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, insert, select, update

from evermodel.core.database.lease import Lease
from evermodel.core.database.tables import promotions
from evermodel.registry.registry_entry import (
    Promotion,
    PromotionRecord,
    RegistryEntry,
    read_record,
    record_text,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeldModel:
    """A registered model that no other process promotes, rolls back or rolls out meanwhile.

    Parameters
    ----------
    entry
        Its registry entry, read under the lease.
    completed
        What another process had begun, and what was completed before anything else.
    """

    lease: Lease
    entry: RegistryEntry
    completed: Promotion | None = None

    def begin(self, record: PromotionRecord) -> None:
        """Note what is about to be done: whoever takes the lease next completes it, if this process cannot."""
        row = {
            "model": self.entry.name,
            "born": self.entry.born,
            "token": self.lease.token,
            "finished": False,
            "record": record_text(record),
        }
        with self.lease.database.writing() as connection:
            self.lease.keep_in(connection)
            connection.execute(delete(promotions).where(self._mine()))
            connection.execute(insert(promotions).values(row))

    def finish(self) -> None:
        """Note that it is done, or given up."""
        with self.lease.database.writing() as connection:
            self.lease.keep_in(connection)
            connection.execute(update(promotions).where(self._mine()).values(finished=True))

    def begun(self, *, finished: bool = False) -> PromotionRecord | None:
        """Return the promotion that was begun last, if it is not finished; or if it is."""
        with self.lease.database.reading() as connection:
            query = select(promotions.c.record).where(self._mine(), promotions.c.finished == finished)
            text = connection.scalar(query)
        if text is None:
            return None
        record = read_record(text, f"the promotion of model {self.entry.name} in the database")
        if record is None:
            _log.error(
                "model %s: its promotion in the database cannot be read, and is given up: %.500s",
                self.entry.name,
                text,
            )
            self.finish()
        return record

    def _mine(self) -> ColumnElement[bool]:
        return (promotions.c.model == self.entry.name) & (promotions.c.born == self.entry.born)
