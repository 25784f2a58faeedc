"""Incidents: one per continuous problem of a model, from its first window to its last."""

__all__ = ["cause", "handler", "respond", "response", "response_message", "shared", "state", "store", "table"]
