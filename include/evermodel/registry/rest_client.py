"""A client of MLflow's REST API for what serving needs: without MLflow, and in half of its client's processor time."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from evermodel.core.errors import EvermodelError, MissingExtraError
from evermodel.core.extras import install_command
from evermodel.core.logins import login_of, query_of, token_of, without_login
from evermodel.core.paths import inside

if TYPE_CHECKING:
    import httpx

_API, _ARTIFACTS = "/api/2.0/mlflow/", "/api/2.0/mlflow-artifacts/artifacts"
_NEEDS_MLFLOW = install_command(["serve", "mlflow"])
_OWN_LOGIN = ("", "evermodel")  # MLFLOW_TRACKING_AUTH; another one is a plugin of MLflow


class RegistryRequestError(EvermodelError):
    """MLflow refused a request.

    Parameters
    ----------
    error_code
        MLflow's name of the reason, such as ``RESOURCE_DOES_NOT_EXIST``.
    """

    def __init__(self, error_code: str, message: str) -> None:
        super().__init__(f"MLflow answers {error_code}: {message}")
        self.error_code = error_code


class RestClient:
    """The methods of MLflow's client that serving calls, over HTTP.

    The login is the address's, or ``MLFLOW_TRACKING_USERNAME`` and ``_PASSWORD``, or ``MLFLOW_TRACKING_TOKEN``; of MLflow's
    other settings ``MLFLOW_HTTP_REQUEST_TIMEOUT``, ``MLFLOW_TRACKING_SERVER_CERT_PATH`` and ``MLFLOW_TRACKING_INSECURE_TLS``
    hold here. Artifacts are read through MLflow's server or from a folder of this machine.

    Parameters
    ----------
    address
        Address of the server, without login.

    Raises
    ------
    MissingExtraError
        The address or its login needs MLflow's own client.
    """

    def __init__(self, address: str) -> None:
        import httpx

        if not address.startswith(("http://", "https://")):
            raise _needs_mlflow(f"the registry at {without_login(address)}")
        if os.environ.get("MLFLOW_TRACKING_AUTH", "") not in _OWN_LOGIN:
            raise _needs_mlflow("the login that MLFLOW_TRACKING_AUTH names")
        self.tracking_uri = address
        self._http = httpx.Client(
            base_url=address.rstrip("/"),
            params=query_of(address),
            auth=_login(address),
            headers=_headers(address),
            verify=_verified(),
            timeout=float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")),
            trust_env=False,
        )

    def __getattr__(self, name: str) -> Any:
        """Name the extra for MLflow's other methods, which only its own client has."""
        if name.startswith("_"):
            raise AttributeError(name)
        raise MissingExtraError(
            f"mlflow is not installed in this environment, and {name} needs it", install_command(["train"])
        )

    def get_registered_model(self, name: str) -> Any:
        """Return the aliases and tags of a model."""
        found = self._ask("GET", "registered-models/get", name=name)["registered_model"]
        aliases = {one["alias"]: one["version"] for one in found.get("aliases", [])}
        created = int(found.get("creation_timestamp", 0))
        return SimpleNamespace(creation_timestamp=created, aliases=aliases, tags=_tags(found))

    def get_model_version(self, name: str, version: str) -> Any:
        """Return a version."""
        found = self._ask("GET", "model-versions/get", name=name, version=version)["model_version"]
        return SimpleNamespace(**{"source": "", "run_id": "", **found, "tags": _tags(found)})

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        """Return where the files of a version are."""
        return str(
            self._ask("GET", "model-versions/get-download-uri", name=name, version=version)["artifact_uri"]
        )

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        """Write a tag of a model."""
        self._ask("POST", "registered-models/set-tag", name=name, key=key, value=value)

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        """Delete a tag of a model."""
        self._ask("DELETE", "registered-models/delete-tag", name=name, key=key)

    def get_experiment_by_name(self, name: str) -> Any:
        """Return an experiment, or None."""
        try:
            found = self._ask("GET", "experiments/get-by-name", experiment_name=name)
        except RegistryRequestError as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return SimpleNamespace(experiment_id=found["experiment"]["experiment_id"])

    def search_runs(
        self, experiment_ids: list[str], filter_string: str = "", *, max_results: int, order_by: list[str]
    ) -> list[Any]:
        """Return the first runs that a filter finds."""
        found = self._ask(
            "POST",
            "runs/search",
            experiment_ids=experiment_ids,
            filter=filter_string,
            max_results=max_results,
            order_by=order_by,
        )
        return [_run(run) for run in found.get("runs", [])]

    def get_run(self, run_id: str) -> Any:
        """Return a run."""
        return _run(self._ask("GET", "runs/get", run_id=run_id)["run"])

    def download(self, place: str, path: str, folder: Path) -> str:
        """Put the files of a place, or those at a path of it, into a folder; return where the path is in it.

        Raises
        ------
        MissingExtraError
            The place is a bucket, which MLflow's own client reads.
        """
        parts = urlsplit(place)
        if parts.scheme == "mlflow-artifacts":
            root = unquote(parts.path).strip("/")
            self._fetch(root, "/".join(filter(None, (root, path))), folder)
        elif parts.scheme in ("", "file"):
            _copy(Path(unquote(parts.path)), path, folder)
        else:
            raise _needs_mlflow(f"artifacts at {parts.scheme}://")
        return str(inside(folder, path) if path else folder)

    def _fetch(self, root: str, path: str, folder: Path) -> None:
        """Download a path, which is a file unless it lists some."""
        listed = self._json(self._http.get(_ARTIFACTS, params={"path": path})).get("files", [])
        for one in listed:
            below = f"{path}/{one['path']}"
            if one.get("is_dir"):
                self._fetch(root, below, folder)
            else:
                self._fetch_file(root, below, folder)
        if not listed:
            self._fetch_file(root, path, folder)

    def _fetch_file(self, root: str, path: str, folder: Path) -> None:
        target = inside(folder, path.removeprefix(root).strip("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._http.stream("GET", f"{_ARTIFACTS}/{quote(path)}") as answer, target.open("wb") as file:
            if answer.is_error:
                answer.read()
                self._json(answer)
            for part in answer.iter_bytes():
                file.write(part)

    def _ask(self, method: str, what: str, **fields: Any) -> dict[str, Any]:
        if method == "GET":
            return self._json(self._http.get(_API + what, params=fields))
        return self._json(self._http.request(method, _API + what, json=fields))

    @staticmethod
    def _json(answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError:
            found = None
        if isinstance(found, dict) and not answer.is_error:
            return found
        known = found if isinstance(found, dict) else {}
        code = str(known.get("error_code", f"HTTP {answer.status_code}"))
        raise RegistryRequestError(code, str(known.get("message", "no JSON"))[:500])


def _needs_mlflow(what: str) -> MissingExtraError:
    return MissingExtraError(f"{what} is read by MLflow's client, which is not installed", _NEEDS_MLFLOW)


def _login(address: str) -> tuple[str, str] | None:
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    given = (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None
    return login_of(address) or given


def _headers(address: str) -> dict[str, str]:
    token = token_of(address) or os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token and _login(address) is None else {}


def _verified() -> Any:
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        return False
    certificate = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    if not certificate:
        return True
    import ssl

    return ssl.create_default_context(cafile=certificate)


def _copy(root: Path, path: str, folder: Path) -> None:
    source, target = inside(root, path) if path else root, inside(folder, path) if path else folder
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _tags(found: dict[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in found.get("tags", [])}


def _run(found: dict[str, Any]) -> Any:
    data = found.get("data", {})
    metrics = {one["key"]: one["value"] for one in data.get("metrics", [])}
    params = {one["key"]: one["value"] for one in data.get("params", [])}
    return SimpleNamespace(
        info=SimpleNamespace(**found["info"]),
        data=SimpleNamespace(tags=_tags(data), metrics=metrics, params=params),
    )
