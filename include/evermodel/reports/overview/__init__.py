"""What the Models page shows of every model: read from MLflow in few calls, and kept so that it is there at once."""

__all__ = ["address", "history", "overview"]
