"""How a new version comes to answer: traffic plans, and the controllers that move them from evidence."""

__all__ = ["active", "evidence", "plan", "plan_store", "service", "strategies"]
