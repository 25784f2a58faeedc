"""Public example data."""

__all__ = ["flights"]
