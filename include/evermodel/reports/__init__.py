"""What people read: decision page, model card, validation page, and the read model of the Models page.

Imports `alerts`, `deployment` and what stands below them.
"""

__all__ = ["overview", "retrain", "validation_page"]
