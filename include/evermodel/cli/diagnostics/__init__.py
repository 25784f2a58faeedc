"""Checks of everything that evermodel depends on, each with advice."""

__all__ = ["examine"]
