"""The demo: real weeks of 2013, replayed through a real scheduler on one machine."""

__all__ = ["run"]
