"""MLflow's client sends the login of an address, which is not in the address itself (entry point of MLflow)."""

from __future__ import annotations

from typing import Any

from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider
from requests.auth import HTTPBasicAuth

from evermodel.core.logins import address_of, login_of, token_of


class TrackingLogin(RequestAuthProvider):  # type: ignore[misc]
    """The provider that ``MLFLOW_TRACKING_AUTH=evermodel`` names."""

    def get_name(self) -> str:
        """Return the provider's name."""
        return "evermodel"

    def get_auth(self) -> Any:
        """Return what adds the login to a request."""
        return _add_login


def _add_login(request: Any) -> Any:
    address = address_of(request.url)
    login = login_of(address) if address else None
    if token := token_of(address) if address else None:
        request.headers["Authorization"] = f"Bearer {token}"
    return HTTPBasicAuth(*login)(request) if login else request
