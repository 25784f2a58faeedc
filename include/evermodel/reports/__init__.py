"""Reports: decision page, model card, validation page, drift page, and the read model of the Models page.

Imports `alerts`, `deployment` and lower layers.
"""

__all__ = ["drift_page", "overview", "retrain", "validation_page"]
