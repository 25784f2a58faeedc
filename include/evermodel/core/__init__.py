"""Shared base of every package: errors, extras, settings, files, storage, paths, names, logins, the database, formats, HTML, connections, the environment, a sandbox.

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
    "sandbox",
    "settings",
    "step_contract",
    "storage",
    "time_limit",
]
