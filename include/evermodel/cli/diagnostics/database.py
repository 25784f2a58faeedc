"""The doctor's check of the database: reachable, its schema, and whether more than one machine would need to share a file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from evermodel.core.database.database import Database
from evermodel.core.database.schema import SCHEMA, is_usable, stored_schema
from evermodel.core.diagnostics import Finding
from evermodel.core.errors import EvermodelError
from evermodel.core.settings import Settings
from evermodel.registry.serving_reports import ServingReports

_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "lustre",
    "ceph",
    "glusterfs",
    "beegfs",
    "afs",
    "gpfs",
}
_MOUNTS = Path("/proc/self/mounts")
_NO_REPORT = (
    "give serving the same EVERMODEL_DATABASE: rollouts and automatic rollbacks read its reports there"
)
_SHARED = "set EVERMODEL_DATABASE to a PostgreSQL URL for all processes: SQLite keeps one machine's processes apart only"


def check_database(settings: Settings) -> Iterator[Finding]:
    """Look at the database's schema, without making it; and at the place of an SQLite file."""
    try:
        database = Database(settings.database_url)
        missing = database.file is not None and not database.file.exists()
        found = None if missing else stored_schema(database)
    except EvermodelError as error:
        yield Finding("database", "red", error.problem, error.advice)
        return
    if not is_usable(found):
        said = f"{database.address} has the schema {found} of a newer release; this one knows {SCHEMA}"
        yield Finding("database", "red", said, "upgrade evermodel in this environment")
        return
    if database.file is not None and (shared := _why_shared(database.file)):
        yield Finding("database", "red", f"{database.address}: {shared}", _SHARED)
        return
    state = f"schema {found}" if found else "the tables are made at first use"
    yield Finding("database", "green", f"{database.address}: {state}")
    if settings.serving_urls and found == SCHEMA and not ServingReports.of(settings).running():
        yield Finding(
            "database",
            "yellow",
            f"{database.address}: no serving process has reported for 30 seconds",
            _NO_REPORT,
        )


def _why_shared(file: Path) -> str:
    """Return why several machines seem to use a file, or ought to; empty if none does."""
    kind = _file_system(file)
    if kind in _NETWORK or kind.startswith("fuse."):
        return f"an SQLite file on a network file system ({kind})"
    executor = os.environ.get("AIRFLOW__CORE__EXECUTOR", "")
    if "Celery" in executor or "Kubernetes" in executor:
        return f"an SQLite file, but tasks of {executor} run on other machines"
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return "an SQLite file, but each pod has its own"
    return ""


def _file_system(file: Path) -> str:
    """Return the type of the file system that a file is, or would be, on."""
    path, longest, found = str(file.absolute()), "", ""
    lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines() if _MOUNTS.exists() else []
    for _, folder, kind, *_ in (line.split() for line in lines):
        below = path.startswith(folder.rstrip("/") + "/")
        if below and len(folder) >= len(longest):  # of two on one folder the later hides the other
            longest, found = folder, kind
    return found
