"""Checks of everything that evermodel stands on, each with what to do when it is red."""

__all__ = ["examine"]
