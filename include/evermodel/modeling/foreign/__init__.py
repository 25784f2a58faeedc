"""Models that others made: what a file, a folder or an endpoint says of itself, and its answers; files are opened in a closed process."""

__all__ = ["endpoint", "formats", "model"]
