"""A lease: one process at a time changes a thing, and one that lost its lease learns it before its next change.

The row of a lease holds a token that grows with each owner. A owner renews its lease in the background, and presents the
token with each step. Who finds a lease that has expired, or whose owner has died on this machine, takes it over with the
next token; from then on the former owner's steps fail.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from evermodel.core.database.clock import now
from evermodel.core.database.database import Database
from evermodel.core.database.process import is_gone, this_process
from evermodel.core.database.tables import leases
from evermodel.core.errors import DatabaseUnavailableError, LeaseHeldError, LeaseLostError

if TYPE_CHECKING:
    from sqlalchemy import Connection

LEASE_SECONDS = 20.0  # until the lease of a owner that no longer renews it can be taken over
_RENEWALS = 4  # in that time
_WAIT_SECONDS = 300.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lease:
    """A lease that this process holds.

    Parameters
    ----------
    name
        What may be changed, such as ``model/churn``.
    token
        Larger than that of every owner before.
    """

    database: Database
    name: str
    token: int

    def keep(self) -> None:
        """Renew the lease, before each change that only its owner may make; raises `LeaseLostError` if it is lost."""
        with self.database.writing() as connection:
            self.keep_in(connection)

    def keep_in(self, connection: Connection) -> None:
        """Renew the lease in a transaction, which takes place only if the lease is still held."""
        mine = (leases.c.name == self.name) & (leases.c.token == self.token)
        kept = connection.execute(update(leases).where(mine).values(expires=now() + LEASE_SECONDS))
        if kept.rowcount != 1:
            raise LeaseLostError(
                f"{self.name} was taken over by another process, because this one did not renew its lease",
                "check what took place (evermodel status), and repeat the command if it did not",
            )

    def release(self) -> None:
        """Give the lease back."""
        mine = (leases.c.name == self.name) & (leases.c.token == self.token)
        with self.database.writing() as connection:
            connection.execute(update(leases).where(mine).values(owner="", expires=0.0))


@contextmanager
def leased(database: Database, name: str, *, wait: float = _WAIT_SECONDS) -> Iterator[Lease]:
    """Hold a lease for the time of a block; other processes wait.

    Parameters
    ----------
    wait
        Time limit in seconds for another owner to end.

    Raises
    ------
    LeaseHeldError
        Another process holds it all that time.
    LeaseLostError
        From `Lease.keep`: this process was stopped for so long that another one took the lease over.
    """
    lease = _take(database, name, wait)
    ended = threading.Event()
    renewal = threading.Thread(target=_renew, args=(lease, ended), name=f"lease {name}", daemon=True)
    renewal.start()
    try:
        yield lease
    finally:
        ended.set()
        renewal.join()
        try:
            lease.release()
        except DatabaseUnavailableError as error:
            _log.warning("the lease of %s is not given back, and expires: %s", name, error.problem)


def _renew(lease: Lease, ended: threading.Event) -> None:
    while not ended.wait(LEASE_SECONDS / _RENEWALS):
        try:
            lease.keep()
        except LeaseLostError:
            return
        except DatabaseUnavailableError as error:
            _log.warning("the lease of %s is not renewed: %s", lease.name, error.problem)


def _take(database: Database, name: str, wait: float) -> Lease:
    until, pause, told = time.monotonic() + wait, 0.01, False
    while True:
        try:
            found = _try(database, name)
        except IntegrityError:  # another process made the row first
            continue
        if isinstance(found, Lease):
            return found
        host, _, pid, _ = f"{found}   ".split(" ")[:4]
        if time.monotonic() > until:
            raise LeaseHeldError(
                f"{name} is being changed by process {pid} on {host} for more than {wait:g} s",
                "wait for it to end, or end it, and repeat the command",
            )
        if not told and pause > 0.3:
            _log.info("waiting for process %s on %s, which changes %s", pid, host, name)
            told = True
        time.sleep(pause)
        pause = min(pause * 1.5, 0.5)


def _try(database: Database, name: str) -> Lease | str:
    """Take the lease, or return its owner."""
    me = this_process()
    with database.writing() as connection:
        query = select(leases, now().label("now")).where(leases.c.name == name).with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            values = {"name": name, "token": 1, "owner": me, "expires": now() + LEASE_SECONDS}
            connection.execute(leases.insert().values(values))
            return Lease(database, name, 1)
        if row.owner and row.expires > row.now and not is_gone(row.owner):
            return str(row.owner)
        taken = {"token": row.token + 1, "owner": me, "expires": now() + LEASE_SECONDS}
        connection.execute(update(leases).where(leases.c.name == name).values(taken))
        return Lease(database, name, row.token + 1)


def owners(database: Database) -> dict[str, str]:
    """Return the leases that are held, each with its owner's host and process number."""
    query = select(leases.c.name, leases.c.owner).where(leases.c.owner != "", leases.c.expires > now())
    with database.reading() as connection:
        found = connection.execute(query.order_by(leases.c.name)).all()
    return {name: "process {2} on {0}".format(*owner.split(" ")) for name, owner in found}
