"""Example data that anybody may use."""

__all__ = ["flights"]
