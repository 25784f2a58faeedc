"""Where people find the evidence of a retrain in MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evermodel.tracking import artifact_url, run_url

if TYPE_CHECKING:
    from mlflow.entities import Run

PAGE_FILE = "decision.html"
CARD_FILE = "model_card.html"
CARD_SOURCE = "model_card.md"


def evidence_links(tracking_uri: str, run: Run, *, registered: bool = True) -> dict[str, str]:
    """Return label and address of decision page, model card and run.

    Parameters
    ----------
    registered
        False leaves out the model card: there is one only of a registered version.
    """
    card = {"Model card": artifact_url(tracking_uri, run, CARD_FILE)} if registered else {}
    page = artifact_url(tracking_uri, run, PAGE_FILE)
    return {"Decision": page, **card, "MLflow run": run_url(tracking_uri, run)}
