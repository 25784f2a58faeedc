"""Evidence for people: the decision page, the model card, and the numbers behind them."""

__all__ = [
    "approval_form",
    "document",
    "log_decision_page",
    "log_model_card",
    "plot_style",
    "runs",
    "runs_table",
    "text",
]
