"""Shared base of every package: errors, extras, settings, files, storage, paths, names, logins, the database, formats, HTML, connections, the environment.

Imports nothing of evermodel.
"""

__all__ = [
    "atomic",
    "connections",
    "dag_ids",
    "database",
    "diagnostics",
    "environment",
    "errors",
    "extras",
    "formats",
    "html",
    "logins",
    "names",
    "paths",
    "settings",
    "step_contract",
    "storage",
    "time_limit",
]
