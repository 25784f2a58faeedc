"""The subset of MLflow's REST API that the page needs, without the client, which takes seconds to load."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import httpx
import orjson

from evermodel.core.errors import TrackingUnavailableError
from evermodel.core.logins import login_of, split_login
from evermodel.registry.registered_names import model_of
from evermodel.registry.tags import REJECTED_BY

Found = dict[str, Any]
_MODELS, _RUNS = 1000, 1000
_PROBE_SECONDS = 1.5
NO_SERVER = (
    "This page requires an MLflow server, and MLflow is configured with a file or database address. "
    "Start a server on the same database, mlflow server --backend-store-uri ADDRESS, and set its http address in the "
    "Airflow connection mlflow_default or in MLFLOW_TRACKING_URI."
)


def server_address(tracking_uri: str) -> str:
    """Return the address of the server, for a browser; empty if there is no server.

    >>> server_address("https://ada:secret@mlflow:5000/"), server_address("sqlite:////data/mlflow.db")
    ('https://mlflow:5000', '')
    """
    bare = split_login(tracking_uri).rstrip("/")
    return bare if bare.startswith(("http://", "https://")) else ""


class TrackingServer:
    """Searches in one MLflow server; raises `TrackingUnavailableError` if the address is not one of a server.

    Parameters
    ----------
    url
        Address of the server; user, password or token are part of it or come from MLflow's own environment variables.
    timeout
        Time limit of one response in seconds.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self.url = server_address(url)
        if not self.url:
            raise TrackingUnavailableError("MLflow is configured without a server", NO_SERVER)
        self._client = httpx.Client(
            base_url=self.url,
            timeout=httpx.Timeout(timeout, connect=5.0),
            trust_env=False,
            auth=_login() or login_of(self.url),
            headers=_token(),
            verify=os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() != "true",
        )

    def __enter__(self) -> TrackingServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def probe(self) -> None:
        """Raise `TrackingUnavailableError` within two seconds if the server and its database do not answer."""
        self._call("GET", "registered-models/search", params={"max_results": 1}, timeout=_PROBE_SECONDS)

    def models(self) -> list[Found]:
        """Return every registered model with its aliases and tags."""
        pages = self._pages("GET", "registered-models/search", max_results=_MODELS)
        every = [model for page in pages for model in page.get("registered_models", [])]
        return [{**found, "name": model} for found in every if (model := model_of(found["name"])) is not None]

    def rejections(self) -> dict[str, dict[str, str]]:
        """Return who rejected versions, by model and version; without those that a rollout rejected."""
        found: dict[str, dict[str, str]] = {}
        query = {"max_results": _MODELS, "filter": f"tags.`{REJECTED_BY}` LIKE '%'"}
        for page in self._pages("GET", "model-versions/search", **query):
            for version in page.get("model_versions", []):
                model = model_of(version["name"])
                if model is not None:
                    found.setdefault(model, {})[str(version["version"])] = tags_of(version)[REJECTED_BY]
        return found

    def experiments(self) -> dict[str, str]:
        """Return the id of every experiment by its name."""
        pages = self._pages("POST", "experiments/search", max_results=_MODELS)
        return {e["name"]: e["experiment_id"] for page in pages for e in page.get("experiments", [])}

    def runs(self, experiments: Sequence[str], query: str, most: int = 100_000) -> Iterator[list[Found]]:
        """Return runs page by page, the newest first.

        Parameters
        ----------
        most
            Maximum number of runs, rounded up to whole pages.
        """
        body: Found = {
            "experiment_ids": list(experiments),
            "filter": query,
            "max_results": min(_RUNS, most),
            "order_by": ["attributes.start_time DESC"],
        }
        seen = 0
        for page in self._pages("POST", "runs/search", **body):
            yield page.get("runs", [])
            seen += len(page.get("runs", []))
            if seen >= most:
                return

    def artifact(self, run: str, path: str) -> Found:
        """Return a JSON artifact of a run."""
        return self._get("GET", "/get-artifact", params={"run_uuid": run, "path": path})

    def _pages(self, method: str, path: str, **query: Any) -> Iterator[Found]:
        """Yield the pages of a search."""
        while True:
            answer = self._call(method, path, **{"params" if method == "GET" else "json": query})
            yield answer
            if not (token := answer.get("next_page_token")):
                return
            query["page_token"] = token

    def _call(self, method: str, path: str, **request: Any) -> Found:
        return self._get(method, f"/api/2.0/mlflow/{path}", **request)

    def _get(self, method: str, path: str, **request: Any) -> Found:
        try:
            answer = self._client.request(method, path, **request)
            answer.raise_for_status()
            found: Found = orjson.loads(answer.content)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise TrackingUnavailableError(
                f"the MLflow server at {self.url} does not answer ({type(error).__name__}: {error})",
                "start it or correct the address (Airflow connection `mlflow_default` or MLFLOW_TRACKING_URI)",
            ) from error
        return found


def tags_of(found: Found) -> dict[str, str]:
    """Return the tags of a model or of a run's data as a dictionary."""
    return {tag["key"]: tag.get("value", "") for tag in found.get("tags", [])}


def _login() -> tuple[str, str] | None:
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    return (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None


def _token() -> dict[str, str]:
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}
