"""Cache of all models: one SQLite file, so that a page never waits for MLflow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from evermodel.reports.overview.records import Record

LAYOUT = "4"
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS models (
    name TEXT PRIMARY KEY, facts BLOB NOT NULL, summary BLOB, experiments BLOB, loaded REAL
);
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, model TEXT NOT NULL, kind TEXT NOT NULL, day TEXT NOT NULL, start INTEGER NOT NULL,
    facts BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_of ON runs (model, kind, day, start);
"""


@dataclass(frozen=True)
class StoredModel:
    """A model as stored in the registry.

    Parameters
    ----------
    created
        Time of registration in milliseconds; 0 if it is not registered yet.
    rejected
        Who rejected a version, by its number.
    """

    name: str
    aliases: dict[str, str]
    tags: dict[str, str]
    created: int = 0
    rejected: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> bytes:
        """Return it as JSON."""
        return orjson.dumps(vars(self), option=orjson.OPT_SORT_KEYS)


class Store:
    """The file, shared by all processes of a machine.

    Parameters
    ----------
    path
        The SQLite file; a cache that can be deleted at any time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._laid_out = False

    def meta(self) -> dict[str, str]:
        """Return the store's metadata."""
        with self._open() as base:
            return dict(base.execute("SELECT name, value FROM meta"))

    def note(self, **values: str) -> None:
        """Write the store's metadata."""
        with self._open() as base:
            base.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def start_over(self, source: str) -> None:
        """Clear the store if it belongs to another server or has another layout."""
        with self._open() as base:
            known = dict(base.execute("SELECT name, value FROM meta"))
            if (known.get("source"), known.get("layout")) == (source, LAYOUT):
                return
            for table in ("meta", "models", "runs"):
                base.execute(f"DELETE FROM {table}")
            base.executemany("INSERT INTO meta VALUES (?, ?)", {"source": source, "layout": LAYOUT}.items())

    def keep_models(self, entries: Mapping[str, StoredModel], names: Iterable[str] | None = None) -> set[str]:
        """Store the models, delete removed ones, and return the names of the changed ones.

        Parameters
        ----------
        names
            All models that still exist; those of ``entries`` if not given.
        """
        still = set(entries if names is None else names)
        with self._open() as base:
            known = dict(base.execute("SELECT name, facts FROM models"))
            changed = {name for name, entry in entries.items() if known.get(name) != entry.to_json()}
            base.executemany(
                "INSERT INTO models (name, facts) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET facts = excluded.facts",
                [(name, entries[name].to_json()) for name in changed],
            )
            gone = [(name,) for name in known if name not in still]
            base.executemany("DELETE FROM models WHERE name = ?", gone)
            base.executemany("DELETE FROM runs WHERE model = ?", gone)
            return changed

    def add_models(self, names: Iterable[str]) -> None:
        """Store models that no registry has."""
        with self._open() as base:
            base.executemany(
                "INSERT OR IGNORE INTO models (name, facts) VALUES (?, ?)",
                [(name, StoredModel(name, {}, {}).to_json()) for name in names],
            )

    def keep_runs(self, model_of: Mapping[str, str], records: Iterable[Record]) -> set[str]:
        """Store records and return the models that they belong to."""
        rows = [
            (r.run_id, model_of[r.facts["experiment"]], r.kind, r.day, r.start, orjson.dumps(r.facts))
            for r in records
            if r.facts["experiment"] in model_of
        ]
        with self._open() as base:
            base.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)", rows)
        return {row[1] for row in rows}

    def rows(self, model: str, kind: str, most: int) -> list[list[Any]]:
        """Return a model's last records as plain data, for `keep_rows` of another store."""
        with self._open() as base:
            found = base.execute(
                "SELECT run_id, kind, day, start, facts FROM runs WHERE model = ? AND kind = ? ORDER BY day DESC, start DESC LIMIT ?",
                (model, kind, most),
            ).fetchall()
        return [[*row, orjson.loads(facts)] for *row, facts in found]

    def keep_rows(self, model: str, rows: Iterable[list[Any]]) -> None:
        """Store records of another store; see `rows`."""
        with self._open() as base:
            base.executemany(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (run, model, kind, day, start, orjson.dumps(facts))
                    for run, kind, day, start, facts in rows
                ],
            )

    def keep_experiments(self, experiments: Mapping[str, list[str]]) -> None:
        """Store the experiments of each model: of its retrains, days and rollouts."""
        with self._open() as base:
            base.executemany(
                "UPDATE models SET experiments = ? WHERE name = ?",
                [(orjson.dumps(ids), name) for name, ids in experiments.items()],
            )

    def experiments(self) -> dict[str, list[str]]:
        """Return the experiments of each model, as far as they are known."""
        with self._open() as base:
            return {
                name: orjson.loads(ids) if ids else []
                for name, ids in base.execute("SELECT name, experiments FROM models")
            }

    def keep_summaries(self, summaries: Mapping[str, dict[str, Any]]) -> None:
        """Store the summaries of models."""
        with self._open() as base:
            base.executemany(
                "UPDATE models SET summary = ? WHERE name = ?",
                [(orjson.dumps(summary), name) for name, summary in summaries.items()],
            )

    def summaries(self) -> list[dict[str, Any]]:
        """Return the summaries, by name."""
        with self._open() as base:
            found = base.execute("SELECT summary FROM models WHERE summary IS NOT NULL ORDER BY name")
            return [orjson.loads(text) for (text,) in found]

    def entry(self, model: str) -> StoredModel | None:
        """Return a model as stored in the registry."""
        with self._open() as base:
            found = base.execute("SELECT facts FROM models WHERE name = ?", (model,)).fetchone()
        return StoredModel(**orjson.loads(found[0])) if found else None

    def summary(self, model: str) -> dict[str, Any]:
        """Return the summary of one model; empty if none is stored yet."""
        with self._open() as base:
            found = base.execute("SELECT summary FROM models WHERE name = ?", (model,)).fetchone()
        return orjson.loads(found[0]) if found and found[0] else {}

    def runs(self, model: str, kind: str, most: int) -> list[dict[str, Any]]:
        """Return the facts of a model's last records of a kind, oldest first; a day evaluated twice counts once."""
        with self._open() as base:
            found = base.execute(
                "SELECT day, start, facts FROM runs WHERE model = ? AND kind = ? ORDER BY day DESC, start DESC LIMIT ?",
                (model, kind, most),
            ).fetchall()
        facts = [{"day": day, "start": start, **orjson.loads(text)} for day, start, text in reversed(found)]
        if kind in ("drift", "features"):  # the first run of a key is the current one
            facts = list({fact["day"]: fact for fact in reversed(facts)}.values())[::-1]
        return facts

    def loaded(self) -> dict[str, float | None]:
        """Return when all runs of each model were last read, as a POSIX time."""
        with self._open() as base:
            return dict(base.execute("SELECT name, loaded FROM models"))

    def note_loaded(self, model: str, moment: float) -> None:
        """Record that all runs of a model were read."""
        with self._open() as base:
            base.execute("UPDATE models SET loaded = ? WHERE name = ?", (moment, model))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction."""
        there = self._laid_out and self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        base = sqlite3.connect(self.path, timeout=20)
        try:
            base.execute("PRAGMA synchronous=NORMAL")
            if not there:
                base.execute("PRAGMA journal_mode=WAL")
                base.executescript(_TABLES)
                self._laid_out = True
            with base:
                yield base
        finally:
            base.close()
