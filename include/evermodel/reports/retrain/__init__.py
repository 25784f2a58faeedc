"""Reports of a retrain: the decision page, the model card, and their numbers."""

__all__ = [
    "approval_form",
    "document",
    "log_decision_page",
    "log_model_card",
    "plot_style",
    "runs",
    "text",
]
