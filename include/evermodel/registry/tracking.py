"""Access to MLflow: the client, runs found by key, artifacts and addresses."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from evermodel.core.errors import (
    EvermodelError,
    MissingExtraError,
    SettingsError,
    StorageUnavailableError,
    TrackingUnavailableError,
)
from evermodel.core.extras import is_installed
from evermodel.core.formats import loads, stamped
from evermodel.core.logins import ask, split_login, with_login, without_login
from evermodel.registry.registered_names import PrefixedClient, named, registered_name
from evermodel.registry.rest_client import RestClient
from evermodel.registry.tags import KIND, RUN_KEY

if TYPE_CHECKING:
    from evermodel.registry.client import Entity, MlflowClient, PagedList, Run


_AUTH = "MLFLOW_TRACKING_AUTH"
_UNITY_CATALOG = ("databricks-uc", "uc")
# MLflow would otherwise retry a dead server for minutes; retries are Airflow's task.
_PROCESS_DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    _AUTH: "evermodel",  # the entry point `evermodel.registry.tracking_login`
}


_OF_SERVERS = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
_GONE = ("Client Error", "No such ", "does not exist")  # 404 and its like
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_OTHER_WAYS = (
    *("MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_CLIENT_CERT_PATH"),
    *(*_PROXIES, *map(str.lower, _PROXIES)),
)


def configure_mlflow_process(logins: Mapping[str, str] | None = None) -> None:
    """Set MLflow's retries, timeout and output in the environment, unless they are set.

    Called only where a process starts: the command line, the serving app, a task of Airflow.

    Parameters
    ----------
    logins
        Variables that MLflow reads only there, such as ``DATABRICKS_TOKEN``; they replace what is set.
    """
    for name, value in _PROCESS_DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.update(logins or {})


def connect(tracking_uri: str, timeout: float = 5.0, registry_uri: str | None = None) -> MlflowClient:
    """Return a client of the MLflow server, after one quick check that it answers; `RestClient` without MLflow.

    MLflow's own address in this process is unchanged, so clients of several servers can coexist.

    Parameters
    ----------
    tracking_uri
        Address of the server; a login in it is sent, and neither printed nor logged.
    timeout
        Time limit of the response in seconds.
    registry_uri
        Address of the model registry, if it is another one. Default: ``MLFLOW_REGISTRY_URI`` for the server that
        ``MLFLOW_TRACKING_URI`` names, else the same server.

    Raises
    ------
    TrackingUnavailableError
        The server does not answer.
    SettingsError
        The registry cannot do what versions need.
    """
    address = split_login(tracking_uri)
    registry = split_login(_registry_of(address) if registry_uri is None else registry_uri) or address
    _require_registry(registry)
    check_health(address, timeout)
    if not is_installed("mlflow") and registry == address:
        return named(cast("MlflowClient", RestClient(address)))
    import mlflow

    # mypy does not follow MLflow's imports: here its client gets the type that the code works with.
    return named(cast("MlflowClient", mlflow.MlflowClient(_for_mlflow(address), _for_mlflow(registry))))


def connect_to_read(tracking_uri: str) -> MlflowClient:
    """Return a client to read the registry with: `RestClient`, which takes half of the processor time, where it is enough.

    MLflow's own client knows ways to a server that `RestClient` does not: other logins, proxies, a registry apart.

    Raises
    ------
    TrackingUnavailableError
        The server does not answer.
    """
    address = split_login(tracking_uri)
    if not address.startswith("http") or _registry_of(address) or any(map(os.environ.get, _OTHER_WAYS)):
        return connect(tracking_uri)
    try:
        client = RestClient(address)
    except MissingExtraError:
        return connect(tracking_uri)
    check_health(address)
    return named(cast("MlflowClient", client))


def _for_mlflow(address: str) -> str:
    """Return an address with its login, if MLflow takes it nowhere else: a database, or a process with a way of its own."""
    own = address.startswith("http") and os.environ.get(_AUTH) == _PROCESS_DEFAULTS[_AUTH]
    return address if own else with_login(address)


def _registry_of(address: str) -> str:
    """Return the process's own registry, if the address is that of its own server."""
    own = split_login(os.environ.get("MLFLOW_TRACKING_URI", "").strip())
    return os.environ.get("MLFLOW_REGISTRY_URI", "").strip() if address in (own, own.rstrip("/")) else ""


def _require_registry(registry: str) -> None:
    if registry.partition(":")[0] in _UNITY_CATALOG:
        raise SettingsError(
            f"the registry {registry} is a Unity Catalog, which keeps at most 50 tags for each model, without dots in "
            "their names: evermodel keeps promotions, traffic plans and the audit log's end there",
            "name the workspace's registry (`databricks`) or another MLflow server as the registry: MLFLOW_REGISTRY_URI, "
            "or registry_uri in the connection's extra",
        )


def check_health(tracking_uri: str, timeout: float = 5.0) -> None:
    """Raise `TrackingUnavailableError` unless the MLflow server answers."""
    import httpx

    if not tracking_uri.startswith(("http://", "https://")):
        return
    try:
        answer = ask(tracking_uri, "/health", timeout)
        problem = f"HTTP {answer.status_code}" if answer.is_error else ""
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem:
        raise TrackingUnavailableError(
            f"the MLflow server at {without_login(tracking_uri)} does not answer ({problem})",
            "start it or correct the address (Airflow connection `mlflow_default` or MLFLOW_TRACKING_URI; on one machine "
            "sqlite:////some/folder/mlflow.db needs no server), then repeat the command; nothing was registered",
        )


def may_pass(error: Exception) -> bool:
    """Tell whether an error is of a server that fails at the moment, and not of something that is not there.

    MLflow's client has one class for both, and tells of failed downloads in a sentence.

    >>> may_pass(ConnectionResetError("reset by peer")), may_pass(FileNotFoundError("No such file"))
    (True, False)
    >>> may_pass(KeyError("a mistake of the program"))
    False
    """
    if isinstance(error, EvermodelError):
        return isinstance(error, (StorageUnavailableError, TrackingUnavailableError))
    if isinstance(error, FileNotFoundError):
        return False
    if getattr(error, "error_code", None) not in _OF_SERVERS and not isinstance(error, OSError):
        return False
    return not any(sign in str(error) for sign in _GONE)


@contextmanager
def ignoring(code: str) -> Iterator[None]:
    """Ignore the errors of one code, of MLflow's client or of `RestClient`."""
    try:
        yield
    except Exception as error:
        if getattr(error, "error_code", None) != code:
            raise


def experiment_id(client: MlflowClient, name: str) -> str:
    """Find or create an experiment; two processes that create it at once get the same one."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        from mlflow.exceptions import MlflowException

        try:
            return str(client.create_experiment(name))
        except MlflowException:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def keyed_run(
    client: MlflowClient,
    experiment: str,
    key: str,
    *,
    kind: str,
    name: str,
    parent: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Run:
    """Find the run of a key, or create it: a repeated step continues its run.

    Parameters
    ----------
    experiment
        Name of the experiment.
    key
        Idempotency key; unique for a kind within an experiment.
    kind
        Kind of the run: ``retrain``, ``candidate`` or ``drift``.
    tags
        Additional tags, set on a new run and updated on an existing one.
    """
    identity = experiment_id(client, experiment)
    run = _find_run(client, identity, key, kind)
    if run is None:
        base = {RUN_KEY: key, KIND: kind, "mlflow.runName": name}
        if parent:
            base["mlflow.parentRunId"] = parent
        run = client.create_run(identity, tags={**base, **(tags or {})}, run_name=name)
    else:
        _refresh(client, run, tags or {})
    return run


def _refresh(client: MlflowClient, run: Run, tags: Mapping[str, str]) -> None:
    """Resume a run with as few requests as possible, because every step of a retrain resumes its runs."""
    from mlflow.entities import RunTag

    if run.info.status != "RUNNING":
        client.update_run(run.info.run_id, status="RUNNING")
    changed = [RunTag(tag, value) for tag, value in tags.items() if run.data.tags.get(tag) != value]
    if changed:
        client.log_batch(run.info.run_id, tags=changed)


def find_run(client: MlflowClient, experiment: str, key: str, *, kind: str) -> Run | None:
    """Return the first run of a key and kind, or None."""
    return _find_run(client, experiment_id(client, experiment), key, kind)


def _find_run(client: MlflowClient, identity: str, key: str, kind: str) -> Run | None:
    found = client.search_runs(
        [identity],
        filter_string=f"tags.`{RUN_KEY}` = '{key}' and tags.`{KIND}` = '{kind}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return found[0] if found else None


def paged(search: Callable[..., PagedList[Entity]], *query: Any, **options: Any) -> Iterator[Entity]:
    """Return the results of one of the client's searches, page by page."""
    token: str | None = None
    while True:
        page = search(*query, **options, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def log_json(client: MlflowClient, run_id: str, data: Mapping[str, Any], artifact: str) -> None:
    """Store JSON-ready data as an artifact of a run, with its format number."""
    client.log_text(run_id, json.dumps(stamped(data), indent=2, sort_keys=True) + "\n", artifact)


def log_metrics(client: MlflowClient, run_id: str, values: Mapping[str, float | None]) -> None:
    """Store metrics of a run with one request; None is omitted."""
    from mlflow.entities import Metric

    now = time.time_ns() // 1_000_000
    metrics = [Metric(name, float(value), now, 0) for name, value in values.items() if value is not None]
    client.log_batch(run_id, metrics=metrics)


def read_json(client: MlflowClient, run_id: str, artifact: str) -> Any:
    """Read a JSON artifact of a run."""
    place = client.get_run(run_id).info.artifact_uri
    with tempfile.TemporaryDirectory() as folder:
        path = download(client, place, artifact, Path(folder))
        return loads(Path(path).read_text(encoding="utf-8"), f"{artifact} of run {run_id}")


def download(client: MlflowClient, place: str, path: str, folder: Path) -> str:
    """Put the artifacts of a place into a folder; return where they are.

    Parameters
    ----------
    path
        Path below the place; empty for all of it.
    """
    own = client.client if isinstance(client, PrefixedClient) else client
    if isinstance(own, RestClient):
        return own.download(place, path, folder)
    # `download_artifacts` of the client takes three requests more: it looks for models that the run logged.
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return str(get_artifact_repository(place, client.tracking_uri).download_artifacts(path, str(folder)))


@contextmanager
def ending_run(client: MlflowClient, run: Run) -> Iterator[None]:
    """End a run as FINISHED, or as FAILED if the block raises."""
    outcome = "FAILED"
    try:
        yield
        outcome = "FINISHED"
    finally:
        client.set_terminated(run.info.run_id, outcome)


def run_url(tracking_uri: str, run: Run) -> str:
    """Return the address of a run's page."""
    return f"{without_login(tracking_uri)}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"


def artifact_url(tracking_uri: str, run: Run, artifact: str) -> str:
    """Return the address where MLflow shows an artifact of a run."""
    return f"{run_url(tracking_uri, run)}/artifacts/{artifact}"


def version_url(tracking_uri: str, model: str, version: str) -> str:
    """Return the address of a version's page in the registry."""
    return f"{without_login(tracking_uri)}/#/models/{registered_name(model)}/versions/{version}"
