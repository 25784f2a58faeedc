"""Transfer a proven version from one environment's registry to the next, with decision and lineage."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import SnapshotStoreError, TransferError
from evermodel.core.logins import split_login
from evermodel.core.paths import inside
from evermodel.core.settings import Settings
from evermodel.data.snapshots.store import snapshot_store
from evermodel.pipelines.deploy import Deployment, deploy
from evermodel.registry.audit import audit
from evermodel.registry.lineage import Lineage
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.retrain_run import RETRAIN, retrain_of
from evermodel.registry.tags import MODEL_URI, ORIGIN, OURS, RUN_KEY, TRANSFERRED_BY
from evermodel.registry.tracking import connect, keyed_run, log_metrics
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion, Run

_ADDRESS = "EVERMODEL_MLFLOW_"
# Approvals and rollouts of the source: information only in the target.
_SAID_THERE = (
    "approved_",
    "rejected_",
    "rollout",
    "outcome",
    "version",
    "parent",
    "anchor",
    "gate_prediction",
    "airflow_run",
)


@dataclass(frozen=True)
class Transferred:
    """The result of a transfer in the target's registry.

    Parameters
    ----------
    origin
        Where the version comes from, such as ``staging/7``.
    """

    origin: str
    deployment: Deployment

    @property
    def version(self) -> str:
        """Its number in the target's registry."""
        return self.deployment.version

    @property
    def deployed(self) -> bool:
        """Tell whether it is champion there now."""
        return self.deployment.outcome == "champion"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"origin": self.origin, "deployed": self.deployed, **asdict(self.deployment)}


def registry_of(environment: str) -> str:
    """Return an environment's MLflow server (``EVERMODEL_MLFLOW_<ENVIRONMENT>``), or raise `TransferError`."""
    variable = _ADDRESS + environment.upper().replace("-", "_")
    address = os.environ.get(variable, "").strip()
    if not address:
        raise TransferError(
            f"the registry of environment {environment} is not configured",
            f"set {variable}, for example to http://user:password@mlflow.{environment}.example:5000",
        )
    return split_login(address)


def transfer(
    spec: ModelSpec, version: str, *, source: str, target: str, by: str, reason: str, settings: Settings
) -> Transferred:
    """Transfer a version that served in one environment to another, and deploy it there by its spec.

    Doing it again does nothing twice. The files of the model, its runs and its decision are copied; its snapshot is
    brought into the target's lake and pushed to the target's DVC remote.

    Parameters
    ----------
    spec
        The model as the target's environment sees it: `approval` says whether the version waits, `rollout` how it
        gets traffic.
    settings
        The target's lake and DVC remote.

    Raises
    ------
    TransferError
        There is no reason, the version never served in the source, its retrain is gone, or the snapshot cannot be had.
    """
    if not reason.strip():
        raise TransferError(
            f"model {spec.name}: a transfer needs a reason", "pass --reason; it is stored on the version"
        )
    there, here = registry_of(source), registry_of(target)
    if there == here:
        raise TransferError(
            f"{source} and {target} have the same registry", f"correct {_ADDRESS}… of one of them"
        )
    with tempfile.TemporaryDirectory(prefix="evermodel-transfer-") as scratch:
        taken = _take(connect(there), spec.name, version, source, Path(scratch))
        _bring_snapshot(taken.version, settings)
        registry = ModelRegistry(connect(here), target)
        placed = _place(registry, spec.name, taken, by)
        facts = {"version": str(placed.version), "origin": taken.origin, "by": by, "reason": reason}
        audit(registry.client, "transfer", spec.name, **facts)
        settings = settings.model_copy(update={"environment": target})
        done = deploy(spec, str(placed.version), registry.client, settings, by=by, reason=reason)
        return Transferred(taken.origin, done)


@dataclass(frozen=True)
class _Taken:
    """What was read from the source."""

    origin: str
    version: ModelVersion
    retrain: Run
    artifacts: Path  # of the retrain: decision, card, spec
    candidate: Run
    model: Path

    def key(self, run: Run) -> str:
        """Return the key of a run's copy; the target may have a run of its own under the key that it has here."""
        return f"transfer/{self.origin}/{run.data.tags[RUN_KEY]}"


def _take(client: MlflowClient, model: str, version: str, source: str, folder: Path) -> _Taken:
    """Read a version with its runs, as long as the client's server is the one that MLflow speaks to."""
    from evermodel.modeling.model_store import download

    registry = ModelRegistry(client)
    found, past = registry.version(model, version), registry.read(model).promotions
    if str(found.version) not in {promotion.version for promotion in past}:
        raise TransferError(
            f"model {model}: version {version} never served in {source}",
            f"serve it there first; `evermodel status {model}` lists versions that served",
        )
    run = retrain_of(client, found)
    if run is None:
        raise TransferError(
            f"model {model}: the retrain run of version {version} is missing in {source}",
            "choose another version",
        )
    download(client, f"models:/{model}/{found.version}", folder / "model")
    return _Taken(
        origin=f"{source}/{found.version}",
        version=found,
        retrain=run,
        artifacts=_artifacts(client, run, folder / "retrain"),
        candidate=client.get_run(found.run_id),
        model=folder / "model",
    )


def _artifacts(client: MlflowClient, run: Run, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for artifact in client.list_artifacts(run.info.run_id):
        inside(folder, artifact.path)
        client.download_artifacts(run.info.run_id, artifact.path, str(folder))
    return folder


def _bring_snapshot(version: ModelVersion, settings: Settings) -> None:
    """Put the version's snapshot, the reference of drift, into this environment's lake and remote."""
    made = Lineage.from_version(version).require(version, "snapshot", "snapshot_md5")
    path, md5 = made.snapshot, made.snapshot_md5
    remotes = [settings.dvc_remote, *filter(None, [os.environ.get("EVERMODEL_SOURCE_DVC_REMOTE")])]
    problem: SnapshotStoreError | None = None
    for remote in remotes:
        try:
            found = snapshot_store(settings, remote)
            found.bring(path, md5)
            break
        except SnapshotStoreError as error:
            problem = error
    else:
        raise TransferError(
            f"the snapshot {path} (md5 {md5}) is missing in the remotes {', '.join(map(split_login, remotes))}: {problem}",
            "set EVERMODEL_SOURCE_DVC_REMOTE to the remote of the source environment",
        )
    with found.local(path) as file:
        snapshot_store(settings).track(file)


def _place(registry: ModelRegistry, model: str, taken: _Taken, by: str) -> ModelVersion:
    """Copy runs and files into this registry and register the version as challenger, once."""
    key, client = taken.key(taken.retrain), registry.client
    origin = {ORIGIN: taken.origin, TRANSFERRED_BY: by}
    there = registry.versions(model, key)
    # Of a version that is here already nothing is written again.
    source, run_id = (there[0].source, there[0].run_id) if there else _copy_runs(client, model, taken, origin)
    return registry.register(
        model,
        key,
        source=source,
        run_id=run_id,
        tags={**_carried(taken.version.tags), **origin},
        description=taken.version.description or "",
    )


def _copy_runs(client: MlflowClient, model: str, taken: _Taken, origin: Mapping[str, str]) -> tuple[str, str]:
    """Copy the retrain and its candidate; return where the model is now, and the candidate's run."""
    run = _copy_run(client, model, taken, taken.retrain, origin)
    client.log_artifacts(run.info.run_id, str(taken.artifacts))
    child = _copy_run(client, model, taken, taken.candidate, origin, parent=run.info.run_id)
    _copy_values(client, taken.candidate, child)
    source = child.data.tags.get(MODEL_URI) or _log_files(client, child, taken.model)
    for ended in (child, run):
        client.set_terminated(ended.info.run_id, "FINISHED")
    return source, str(child.info.run_id)


def _copy_run(
    client: MlflowClient,
    model: str,
    taken: _Taken,
    run: Run,
    origin: Mapping[str, str],
    parent: str | None = None,
) -> Run:
    key = taken.key(run)
    return keyed_run(
        client,
        model,
        key,
        kind="candidate" if parent else RETRAIN,
        name=run.data.tags.get("mlflow.runName", key),
        parent=parent,
        tags={**_carried({k: v for k, v in run.data.tags.items() if k.startswith(OURS)}), **origin},
    )


def _carried(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that hold in every environment, and under `evermodel.origin.` what was said in the last one.

    >>> from evermodel.registry.tags import APPROVED_BY, RUN_KEY, SNAPSHOT
    >>> print(*_carried({SNAPSHOT: "a.parquet", APPROVED_BY: "ann", RUN_KEY: "r"}))
    evermodel.snapshot evermodel.origin.approved_by
    """
    own = {RUN_KEY, MODEL_URI, TRANSFERRED_BY, ORIGIN}
    kept = {k: v for k, v in tags.items() if k not in own and not k.startswith(f"{ORIGIN}.")}
    return {_name(name): value for name, value in kept.items()}


def _name(tag: str) -> str:
    said = tag.removeprefix(OURS)
    return f"{ORIGIN}.{said}" if tag.startswith(OURS) and said.startswith(_SAID_THERE) else tag


def _copy_values(client: MlflowClient, run: Run, copy: Run) -> None:
    from mlflow.entities import Param

    if not copy.data.params:
        client.log_batch(copy.info.run_id, params=[Param(k, v) for k, v in run.data.params.items()])
    log_metrics(client, copy.info.run_id, run.data.metrics)


def _log_files(client: MlflowClient, run: Run, files: Path) -> str:
    """Log a model's files as they are, and remember where, so that a second try finds them."""
    logged = client.create_logged_model(run.info.experiment_id, name="model", source_run_id=run.info.run_id)
    client.log_model_artifacts(logged.model_id, str(files))
    client.finalize_logged_model(logged.model_id, "READY")
    client.set_tag(run.info.run_id, MODEL_URI, f"models:/{logged.model_id}")
    return f"models:/{logged.model_id}"
