"""What API servers last read from MLflow, in the database: one of them reads at a time, the others take it over."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, delete, insert, or_, select, update

from evermodel.core.database.clock import now
from evermodel.core.database.lease import Lease, leased
from evermodel.core.database.schema import open_database
from evermodel.core.database.tables import models_page
from evermodel.core.errors import EvermodelError, LeaseHeldError
from evermodel.core.formats import loads, stamped
from evermodel.reports.overview.store import LAYOUT, Store, StoredModel
from evermodel.reports.overview.summary import summarise

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Row

# Of each model; opening its page reads the others from MLflow.
_KEPT = {"drift": 60, "retrain": 20, "rollout": 10}
_BATCH = 50
_REFRESH = ""  # stands for a model's name in the row of the last refresh

log = logging.getLogger(__name__)


class SharedState:
    """The last known state of all models of one MLflow server, shared by all API servers.

    Without the database each of them reads MLflow for itself, and that is logged once.

    Parameters
    ----------
    address
        URL of the database.
    source
        Address of the MLflow server, without a login.
    store
        What this server shows.
    """

    def __init__(self, address: str, source: str, store: Store) -> None:
        self.address, self.source, self.store = address, source, store
        self._sha256 = sha256(source.encode()).hexdigest()
        self._mine = (models_page.c.source_sha256 == self._sha256) & (models_page.c.layout == int(LAYOUT))
        self._lease: Lease | None = None
        self._said = ""

    @contextmanager
    def turn(self, every: float) -> Iterator[bool]:
        """Take over what others read, and yield whether this server is to read MLflow now.

        Parameters
        ----------
        every
            Age in seconds up to which what another one read is new enough.
        """
        with ExitStack() as stack:
            try:
                yield self._begin(stack, every)
            finally:
                self._lease = None

    def keep(self, changed: Iterable[str]) -> None:
        """Write the state of changed models, delete removed ones, and record that MLflow has answered."""
        if self._lease is None:
            return
        try:
            self._keep(self._lease, set(changed))
        except EvermodelError as error:
            self._without(error)

    def tell(self) -> None:
        """Write why the last refresh failed, or that it did not."""
        if self._lease is None:
            return
        try:
            with self._lease.database.writing() as connection:
                self._lease.keep_in(connection)
                row = self._mine & (models_page.c.model == _REFRESH)
                connection.execute(update(models_page).where(row).values(content=self._outcome()))
        except EvermodelError as error:
            self._without(error)

    def _begin(self, stack: ExitStack, every: float) -> bool:
        try:
            if self._take_over(every):
                return False
            lease = leased(open_database(self.address), f"models page {self._sha256[:16]}", wait=0)
            self._lease = stack.enter_context(lease)
            return not self._take_over(every)  # nobody else has read in the meantime
        except LeaseHeldError:
            return False
        except EvermodelError as error:
            self._without(error)
            return True

    def _without(self, error: EvermodelError) -> None:
        """Go on without the database."""
        if self._said != error.problem:
            log.warning("the state of the Models page is not shared with other API servers: %s", error)
        self._said = error.problem

    def _take_over(self, every: float) -> bool:
        """Store what is newer in the database, and return whether MLflow has answered lately."""
        taken = self._taken()
        with open_database(self.address).reading() as connection:
            newer = or_(models_page.c.seen > taken, models_page.c.model == _REFRESH)
            query = select(models_page.c.model, models_page.c.seen, models_page.c.content, now().label("now"))
            rows = {row.model: row for row in connection.execute(query.where(self._mine, newer))}
            names = set(connection.scalars(select(models_page.c.model).where(self._mine))) - {_REFRESH}
        last = rows.pop(_REFRESH, None)
        outcome = None if last is None else _read(last)
        if last is None or outcome is None:
            return False
        age = last.now - last.seen
        if last.seen > taken:
            self.store.start_over(self.source)
            self._store(rows, names)
            moment = time.time() - age
            self.store.note(taken=repr(last.seen), reached=repr(moment), synced=repr(moment))
        self.store.note(problem=outcome["problem"], fault=outcome["fault"])
        return bool(age < every)

    def _taken(self) -> float:
        meta = self.store.meta()
        return float(meta.get("taken", 0)) if meta.get("source") == self.source else 0.0

    def _store(self, rows: Mapping[str, Row[Any]], names: set[str]) -> None:
        found = {name: one for name, row in rows.items() if (one := _read(row)) is not None}
        entries = {name: StoredModel(**one["model"]) for name, one in found.items()}
        self.store.keep_models(entries, names)
        self.store.keep_experiments({name: one["experiments"] for name, one in found.items()})
        loaded = self.store.loaded()
        for name, one in found.items():
            self.store.keep_rows(name, one["runs"])
            if one["loaded"] and loaded.get(name) is None:
                self.store.note_loaded(name, 0.0)  # long ago: whoever opens its page has the rest read
        self.store.keep_summaries({name: summarise(self.store, name) for name in found})

    def _keep(self, lease: Lease, changed: set[str]) -> None:
        loaded, experiments = self.store.loaded(), self.store.experiments()
        with lease.database.reading() as connection:
            known = set(connection.scalars(select(models_page.c.model).where(self._mine)))
        wanted = sorted((changed | loaded.keys() - known) & loaded.keys())
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            self._write(
                lease,
                {name: self._content(name, experiments[name], loaded[name]) for name in batch},
                set(),
            )
        gone = known - loaded.keys() - {_REFRESH}
        at = self._write(lease, {_REFRESH: self._outcome()}, gone)
        self.store.note(taken=repr(at))

    def _content(self, name: str, experiments: list[str], loaded: float | None) -> str:
        entry = self.store.entry(name) or StoredModel(name, {}, {})
        runs = [row for kind, most in _KEPT.items() for row in self.store.rows(name, kind, most)]
        content = {
            "model": vars(entry),
            "experiments": experiments,
            "loaded": loaded is not None,
            "runs": runs,
        }
        return orjson.dumps(stamped(content)).decode()

    def _outcome(self) -> str:
        meta = self.store.meta()
        return orjson.dumps(stamped({name: meta.get(name, "") for name in ("problem", "fault")})).decode()

    def _write(self, lease: Lease, rows: Mapping[str, str], gone: Iterable[str]) -> float:
        """Replace rows in one transaction that only the owner of the lease can make; return its time."""
        table, keys = models_page.c, [{"name": name} for name in {*rows, *gone}]
        mine: ColumnElement[bool] = self._mine & (table.model == bindparam("name"))
        with lease.database.writing() as connection:
            lease.keep_in(connection)
            at = float(connection.scalar(select(now())) or 0)
            key = {"source_sha256": self._sha256, "layout": int(LAYOUT), "seen": at}
            connection.execute(delete(models_page).where(mine), keys)
            connection.execute(
                insert(models_page), [{**key, "model": n, "content": c} for n, c in rows.items()]
            )
        return at


def _read(row: Row[Any]) -> dict[str, Any] | None:
    """Return the content of a row; None if it is damaged, and then whoever reads MLflow next replaces it."""
    try:
        return loads(row.content, f"the last known state of {row.model or 'all models'}")
    except ValueError as error:
        log.warning("the last known state of %s is damaged: %s", row.model or "all models", error)
        return None
