"""The read model of the Models page: read from MLflow in few calls, and cached for immediate display."""

__all__ = ["history", "overview", "server"]
