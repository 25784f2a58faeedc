"""Check of MLflow: it answers, has a matching version, and accepts runs and artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

import httpx
from mlflow.exceptions import MlflowException

from evermodel.core.diagnostics import Finding, first_line
from evermodel.core.errors import EvermodelError
from evermodel.core.logins import ask
from evermodel.core.settings import Settings
from evermodel.registry.audit import verify
from evermodel.registry.client import MlflowClient
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tags import RUN_KEY
from evermodel.registry.tracking import connect
from evermodel.spec import load_specs

EXPERIMENT = "evermodel-doctor"


def check_tracking(settings: Settings) -> Iterator[Finding]:
    """Reach MLflow, and write one small artifact to the one run that is kept for this."""
    uri = settings.tracking_uri
    try:
        client = connect(uri)
    except EvermodelError as error:
        yield Finding("MLflow", "red", error.problem, error.advice)
        return
    yield _version(uri)
    try:
        said = _write(client)
    except (MlflowException, OSError) as error:
        yield Finding(
            "MLflow writes",
            "red",
            f"{uri}: {first_line(error)}",
            "check the server's database, its artifact store (--artifacts-destination), and the login's permissions",
        )
    else:
        yield Finding("MLflow writes", "green", said)
        yield _registry(client)
        yield from _audit(client, settings)


def _audit(client: MlflowClient, settings: Settings) -> Iterator[Finding]:
    lines, intact, registry = 0, True, ModelRegistry(client)
    for spec in load_specs(None, settings)[0]:
        log, problems = verify(client, registry.read(spec.name))
        lines += len(log.lines)
        if problems:
            intact, more = False, f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            advice = f"find out who changed MLflow by hand; evermodel audit verify {spec.name} lists all"
            yield Finding("audit log", "red", f"{spec.name}: {problems[0]}{more}", advice)
    if intact:
        yield Finding("audit log", "green", f"{lines} lines, none missing or edited; no alias moved by hand")


def _registry(client: MlflowClient) -> Finding:
    """Tell whether the registry can search versions by tag, which a retrain does for each version it registers."""
    try:
        client.search_model_versions(f"name = 'evermodel-doctor' and tags.`{RUN_KEY}` = 'doctor'")
    except MlflowException as error:
        return Finding(
            "model registry",
            "yellow",
            f"versions cannot be searched by tag ({first_line(error)}), so each registration reads every version",
            "delete versions that are no longer needed, or name another registry in MLFLOW_REGISTRY_URI",
        )
    return Finding("model registry", "green", "versions are found by tag")


def _version(uri: str) -> Finding:
    ours = version("mlflow")
    if not uri.startswith("http"):
        return Finding(
            "MLflow",
            "yellow",
            f"{uri} is opened directly, without a server",
            "this works for one person on one machine; for several processes run mlflow server",
        )
    try:
        theirs = ask(uri, "/version", 5).text.strip()
    except httpx.HTTPError as error:
        return Finding(
            "MLflow", "yellow", f"{uri} answers without a version ({first_line(error)})", "check the server"
        )
    if theirs.split(".")[:2] != ours.split(".")[:2]:
        return Finding(
            "MLflow",
            "yellow",
            f"{uri} runs {theirs[:20]}, the client is {ours}",
            "install the same minor version of server and client",
        )
    return Finding("MLflow", "green", f"{uri} runs {theirs}")


def _write(client: MlflowClient) -> str:
    from datetime import UTC, datetime

    from evermodel.registry.tracking import keyed_run

    run = keyed_run(client, EXPERIMENT, "doctor", kind="doctor", name="evermodel doctor")
    client.log_text(run.info.run_id, f"{datetime.now(UTC).isoformat()}\n", "checked.txt")
    return f"runs and artifacts are accepted (experiment {EXPERIMENT})"
