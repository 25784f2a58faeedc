"""Assets that tie a model's DAGs together."""

from __future__ import annotations

from airflow.sdk import Asset


def retrain_wanted(model: str) -> Asset:
    """Return the asset whose events request a retrain; each event carries as_of, reason and run_key."""
    return Asset(name=f"{model}_retrain_wanted", uri=f"evermodel://{model}/retrain-wanted", group="evermodel")


def rollout_wanted(model: str) -> Asset:
    """Return the asset whose events request a rollout; each event carries version, by, reason and run_key."""
    return Asset(name=f"{model}_rollout_wanted", uri=f"evermodel://{model}/rollout-wanted", group="evermodel")


def predictions(model: str) -> Asset:
    """Return the asset that a new day in the prediction log updates."""
    return Asset(name=f"{model}_predictions", uri=f"evermodel://{model}/predictions", group="evermodel")


def champion(model: str) -> Asset:
    """Return the asset that a promotion updates."""
    return Asset(name=f"{model}_champion", uri=f"evermodel://{model}/champion", group="evermodel")
