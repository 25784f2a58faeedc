"""Names in the registry apart from the models' own: a prefix such as ``catalog.schema`` (``EVERMODEL_REGISTRY_PREFIX``)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from evermodel.core.errors import SettingsError

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

_VARIABLE = "EVERMODEL_REGISTRY_PREFIX"
_PREFIX = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_NAME_FILTER = re.compile(r"\bname = '([^']*)'")
# The methods of MLflow's client whose first argument is a registered model's name.
_BY_NAME = frozenset(
    {
        *("create_registered_model", "get_registered_model", "set_registered_model_tag"),
        *("delete_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias"),
        *("create_model_version", "get_model_version", "get_model_version_by_alias"),
        *("get_model_version_download_uri", "set_model_version_tag", "delete_model_version_tag"),
        "delete_model_version",
    }
)


def registry_prefix() -> str:
    """Return what stands before each model's name in the registry, with the dot between them; empty without one.

    Raises
    ------
    SettingsError
        The variable holds something else than names with dots between them.
    """
    found = os.environ.get(_VARIABLE, "").strip()
    if found and not _PREFIX.fullmatch(found):
        raise SettingsError(
            f"{_VARIABLE}={found} is no prefix of names in a registry",
            "set it to names of letters, digits, `_` and `-` with dots between them, such as `catalog.schema`",
        )
    return f"{found}." if found else ""


def registered_name(model: str) -> str:
    """Return the name of a model in the registry."""
    return registry_prefix() + model


def model_of(name: str) -> str | None:
    """Return the model of a name in the registry; None of one without the prefix, which is another installation's."""
    prefix = registry_prefix()
    return name.removeprefix(prefix) if name.startswith(prefix) else None


def named(client: MlflowClient) -> MlflowClient:
    """Return a client that takes and gives the models' own names, whatever they are called in the registry."""
    return cast("MlflowClient", PrefixedClient(client, registry_prefix())) if registry_prefix() else client


@dataclass(frozen=True)
class PrefixedClient:
    """A client of MLflow, or `RestClient`, for models with a prefix in the registry.

    Parameters
    ----------
    prefix
        With the dot at its end.
    """

    client: MlflowClient
    prefix: str

    def __getattr__(self, name: str) -> Any:
        """Return the client's own method, with the prefix where it takes a model's name."""
        found = getattr(self.client, name)
        return self._by_name(found) if name in _BY_NAME else found

    def search_model_versions(self, filter_string: str | None = None, **options: Any) -> Any:
        """Search among the models with the prefix."""
        query = filter_string and _NAME_FILTER.sub(rf"name = '{self.prefix}\1'", filter_string)
        page = self.client.search_model_versions(query, **options)
        page[:] = [self._own(found) for found in page if found.name.startswith(self.prefix)]
        return page

    def _by_name(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def called(name: str, *arguments: Any, **options: Any) -> Any:
            return self._own(method(self.prefix + name, *arguments, **options))

        return called

    def _own(self, found: Any) -> Any:
        name = getattr(found, "name", None)
        if name is None:
            return found
        fields = vars(found) if isinstance(found, SimpleNamespace) else dict(found)
        return SimpleNamespace(**{**fields, "name": name.removeprefix(self.prefix)})
