"""Shared base of every package: errors, settings, files, storage, paths, names, logins, format numbers, HTML, connections, the environment.

Imports nothing of evermodel.
"""

__all__ = [
    "atomic",
    "connections",
    "dag_ids",
    "diagnostics",
    "environment",
    "errors",
    "formats",
    "html",
    "logins",
    "names",
    "paths",
    "settings",
    "storage",
    "time_limit",
]
