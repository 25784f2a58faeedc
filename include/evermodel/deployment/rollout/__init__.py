"""Rollouts of a new version: traffic plans, and the controllers that change them by evidence."""

__all__ = ["evidence", "moves", "service", "strategies"]
