"""What every package stands on: errors, settings, atomic files, connections, the environment, audit.

Imports nothing of evermodel.
"""

__all__ = [
    "atomic",
    "audit",
    "connections",
    "diagnostics",
    "environment",
    "errors",
    "settings",
    "severity",
    "time_limit",
]
