"""Types of MLflow's client and entities as far as the code uses them; other calls or attributes fail mypy.

MLflow itself stays outside the type check: its classes drag in most of what it imports. The signatures are the real
ones without unused parameters; `tests/domain/test_types.py` compares them with the installed MLflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

Entity = TypeVar("Entity")


class RunInfo(Protocol):
    """Identity and state of a run."""

    run_id: str
    run_name: str
    experiment_id: str
    status: str
    lifecycle_stage: str
    artifact_uri: str


class RunData(Protocol):
    """What a run logged: the last value of each metric, parameters and tags."""

    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]


class ModelOutput(Protocol):
    """A logged model that a run made."""

    model_id: str


class RunOutputs(Protocol):
    """What a run made."""

    model_outputs: list[ModelOutput]


class Run(Protocol):
    """A run of an experiment."""

    info: RunInfo
    data: RunData
    outputs: RunOutputs


class Experiment(Protocol):
    """An experiment, which holds runs."""

    experiment_id: str


class FileInfo(Protocol):
    """An artifact's path within its run."""

    path: str


class LoggedModel(Protocol):
    """A model that a run logged."""

    model_id: str
    model_uri: str
    artifact_location: str
    status: object


class MetricPoint(Protocol):
    """A value that a run measured."""

    key: str
    value: float
    timestamp: int
    step: int


class ModelVersion(Protocol):
    """A version in the registry."""

    name: str
    version: str
    source: str
    run_id: str
    description: str
    creation_timestamp: int
    tags: dict[str, str]


class RegisteredModel(Protocol):
    """A model in the registry: the version behind each alias, and the model's tags."""

    creation_timestamp: int
    aliases: dict[str, str]
    tags: dict[str, str]


class PagedList(list[Entity]):
    """One page of a search; `token` leads to the next."""

    token: str | None


class MlflowClient(Protocol):
    """The requests to MLflow that the code makes."""

    @property
    def tracking_uri(self) -> str: ...

    def create_experiment(self, name: str) -> str: ...
    def get_experiment_by_name(self, name: str) -> Experiment | None: ...
    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: Mapping[str, str] | None = None,
        run_name: str | None = None,
    ) -> Run: ...
    def get_run(self, run_id: str) -> Run: ...
    def search_runs(
        self,
        experiment_ids: list[str],
        filter_string: str = "",
        *,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> PagedList[Run]: ...
    def update_run(self, run_id: str, status: str | None = None) -> None: ...
    def set_terminated(self, run_id: str, status: str | None = None, end_time: int | None = None) -> None: ...
    def delete_run(self, run_id: str) -> None: ...
    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[object] = (),
        params: Sequence[object] = (),
        tags: Sequence[object] = (),
    ) -> object: ...
    def log_inputs(self, run_id: str, datasets: Sequence[object]) -> None: ...
    def log_param(self, run_id: str, key: str, value: object) -> object: ...
    def set_tag(self, run_id: str, key: str, value: str) -> object: ...
    def log_text(self, run_id: str, text: str, artifact_file: str) -> None: ...
    def log_artifact(self, run_id: str, local_path: str) -> None: ...
    def log_artifacts(self, run_id: str, local_dir: str) -> None: ...
    def list_artifacts(self, run_id: str) -> list[FileInfo]: ...
    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str: ...
    def log_outputs(self, run_id: str, models: list[object]) -> None: ...
    def create_logged_model(
        self,
        experiment_id: str,
        name: str,
        source_run_id: str,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> LoggedModel: ...
    def get_logged_model(self, model_id: str) -> LoggedModel: ...
    def search_logged_models(
        self, experiment_ids: list[str], filter_string: str | None = None, *, max_results: int | None = None
    ) -> Iterable[LoggedModel]: ...
    def log_model_artifacts(
        self, model_id: str, local_dir: str, artifact_path: str | None = None
    ) -> None: ...
    def finalize_logged_model(self, model_id: str, status: str) -> object: ...
    def create_registered_model(self, name: str) -> RegisteredModel: ...
    def get_registered_model(self, name: str) -> RegisteredModel: ...
    def set_registered_model_tag(self, name: str, key: str, value: str) -> None: ...
    def delete_registered_model_tag(self, name: str, key: str) -> None: ...
    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None: ...
    def delete_registered_model_alias(self, name: str, alias: str) -> None: ...
    def create_model_version(
        self,
        name: str,
        source: str,
        run_id: str,
        *,
        tags: Mapping[str, str],
        description: str,
        model_id: str | None,
    ) -> ModelVersion: ...
    def get_model_version(self, name: str, version: str) -> ModelVersion: ...
    def get_model_version_by_alias(self, name: str, alias: str) -> ModelVersion: ...
    def get_model_version_download_uri(self, name: str, version: str) -> str: ...
    def search_model_versions(
        self, filter_string: str | None = None, *, page_token: str | None = None
    ) -> PagedList[ModelVersion]: ...
    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None: ...
    def delete_model_version_tag(self, name: str, version: str, key: str) -> None: ...
    def delete_model_version(self, name: str, version: str) -> None: ...
