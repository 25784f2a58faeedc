"""Networks of PyTorch: fitted epoch by epoch, resumed after a kill, stored as arrays.

Imports `modeling.own_packages`, and what stands below `modeling`.
"""

__all__ = ["epochs", "estimators", "kept_epochs"]
