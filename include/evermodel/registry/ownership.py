"""Ownership of registered models: a model of one environment cannot be changed from another one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from evermodel.core.errors import WrongEnvironmentError
from evermodel.core.settings import current_environment
from evermodel.registry.tags import OWNER

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient


def own(client: MlflowClient, model: str, environment: str | None = None) -> None:
    """Set this environment as the owner of a registered model without one, if the environment is configured."""
    given = environment or os.environ.get("EVERMODEL_ENVIRONMENT", "").strip()
    if given:
        client.set_registered_model_tag(model, OWNER, given)


def require_own(model: str, tags: Mapping[str, str], environment: str | None = None) -> None:
    """Refuse to change a model that belongs to another environment.

    Parameters
    ----------
    tags
        Tags of the registered model.
    environment
        Who wants to change it; the process's own environment if not given.

    Raises
    ------
    WrongEnvironmentError
        The model belongs to another environment, usually because the tracking address is wrong.
    """
    owner, here = tags.get(OWNER), environment or current_environment()
    if owner is not None and owner != here:
        raise WrongEnvironmentError(
            f"model {model} in this registry belongs to the environment {owner}, but this process runs in {here}",
            f"correct MLFLOW_TRACKING_URI or EVERMODEL_ENVIRONMENT; transfer a version with "
            f"`evermodel promote {model} VERSION --from {here} --to {owner}`. If the registry belongs to a new environment, "
            f"delete the tag {OWNER} of the registered model",
        )
