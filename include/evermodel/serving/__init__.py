"""The HTTP app: answers with each model's champion, and follows promotions without a restart.

Imports `deployment` and what stands below it, never `alerts`.
"""

__all__ = ["lines", "run"]
