"""Shared base of every package: errors, settings, files, paths, logins, format numbers, HTML, connections, the environment.

Imports nothing of evermodel.
"""

__all__ = [
    "atomic",
    "connections",
    "diagnostics",
    "environment",
    "errors",
    "formats",
    "html",
    "logins",
    "paths",
    "settings",
    "time_limit",
]
