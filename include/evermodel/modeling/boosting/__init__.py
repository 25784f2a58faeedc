"""LightGBM, XGBoost and CatBoost as they are meant: categories and missing values as they are, models stored as data.

Imports `modeling.skops_files`, and what stands below `modeling`.
"""

__all__ = ["estimators", "libraries"]
