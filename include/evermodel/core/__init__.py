"""Shared base of every package: errors, settings, atomic files, paths, logins, format numbers, HTML, connections, the environment, audit.

Imports nothing of evermodel.
"""

__all__ = [
    "atomic",
    "audit",
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
