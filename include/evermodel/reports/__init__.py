"""Reports: decision page, model card, validation page, and the read model of the Models page.

Imports `alerts`, `deployment` and lower layers.
"""

__all__ = ["overview", "retrain", "validation_page"]
