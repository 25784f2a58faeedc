"""Restore a version's inputs, train it again in a fresh process, and compare the two models."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import yaml

from evermodel.core.environment import git_commit, processor, thread_count
from evermodel.core.errors import PermanentError, SnapshotStoreError, TrainingError
from evermodel.core.formats import json_digest
from evermodel.core.settings import Settings
from evermodel.data.snapshots.dvc import SnapshotStore, snapshot_file, write_pointer
from evermodel.data.snapshots.store import snapshot_store
from evermodel.modeling.model_store import download
from evermodel.registry.lineage import Lineage
from evermodel.registry.tracking import find_run, read_json
from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.spec.load import with_variables

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion, Run

_ROUNDING = 10  # digits in which models agree whose sums were only rounded differently


def reproduce(client: MlflowClient, model: str, version: str, settings: Settings) -> Reproduction:
    """Train a version again from the inputs in its tags, and compare the answers on its test rows.

    Nothing that exists is changed: snapshot and model are brought into a folder that is removed at the end.

    Raises
    ------
    PermanentError
        There is no such version, it has no lineage, or the stored spec is another one.
    TrainingError
        The training does not run any more.
    SnapshotStoreError
        The snapshot is neither in the lake nor can DVC bring it back.
    """
    stored = _version(client, model, version)
    made = Lineage.from_version(stored).require(stored, "snapshot", "snapshot_md5", "as_of", "run_key")
    run = client.get_run(stored.run_id)
    spec, differences = _stored_spec(client, stored, made)
    candidate = stored_candidate(spec, run)
    with tempfile.TemporaryDirectory(prefix="evermodel-reproduce-") as name:
        folder = Path(name)
        origin, problems = _bring_snapshot(made, folder / "lake", settings)
        files = folder / "model"
        download(client, f"models:/{stored.name}/{stored.version}", files)
        compared = _train_again(folder, files, spec, candidate, stored, made)
        differences += [*problems, *compared.pop("parameters"), *package_differences(files)]
    return Reproduction(
        model=model,
        version=str(version),
        identical=compared["different_rows"] == 0,
        **compared,
        candidate=candidate.name,
        params=dict(candidate.params),
        seed=spec.seed,
        snapshot=made.snapshot,
        snapshot_md5=made.snapshot_md5,
        snapshot_from=origin,
        commit=made.git_commit or "unknown",
        commit_now=git_commit(settings.models),
        processor=made.processor or "unknown",
        processor_now=processor(),
        differences=tuple(differences),
    )


def stored_candidate(spec: ModelSpec, run: Run) -> CandidateSpec:
    """Return the candidate of a run with the chosen parameters, as stored in MLflow."""
    name = run.data.tags["mlflow.runName"]
    declared = next(candidate for candidate in spec.candidates if candidate.name == name)
    texts = {k.removeprefix("params."): v for k, v in run.data.params.items() if k.startswith("params.")}
    params = {key: _parsed(text, declared.params.get(key)) for key, text in texts.items()}
    return declared.model_copy(update={"params": params})


def package_differences(files: Path) -> list[str]:
    """List packages, and Python, whose versions differ from a stored model's requirements."""
    found = []
    for line in (files / "requirements.txt").read_text(encoding="utf-8").splitlines():
        name, _, wanted = line.partition("==")
        if not wanted:
            continue
        try:
            here = installed(name)
        except PackageNotFoundError:
            here = "not installed"
        if here != wanted:
            found.append(f"package {name}: {wanted} then, {here} now")
    python = yaml.safe_load((files / "python_env.yaml").read_text(encoding="utf-8"))["python"]
    if python != python_version():
        found.append(f"Python: {python} then, {python_version()} now")
    return found


def _version(client: MlflowClient, model: str, version: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(model, version)
    except MlflowException as error:
        raise PermanentError(
            f"the registry has no version {version} of model {model} ({error.message})",
            f"`evermodel runs {model}` lists the versions",
        ) from error


def _stored_spec(client: MlflowClient, stored: ModelVersion, made: Lineage) -> tuple[ModelSpec, list[str]]:
    run = find_run(client, stored.name, made.run_key, kind="retrain")
    if run is None:
        raise PermanentError(
            f"the retrain run of {stored.name} version {stored.version} is missing in MLflow",
            "restore the run with its spec.json",
        )
    written = read_json(client, run.info.run_id, "spec.json")
    data = with_variables(written)
    digest = json_digest(data)[:16]
    changed = f"the version has digest {made.spec_digest}, spec.json has {digest}"
    if digest == made.spec_digest:
        return ModelSpec.model_validate(data), []
    if data == written:
        raise PermanentError(
            f"{stored.name} version {stored.version} was trained with another spec: {changed}",
            "restore spec.json of its retrain run, or set the variables that it names",
        )
    return ModelSpec.model_validate(data), [f"spec, or a variable in it: {changed}"]


def _bring_snapshot(made: Lineage, lake: Path, settings: Settings) -> tuple[str, list[str]]:
    """Put the snapshot into a separate lake; return its origin and its differences."""
    path, md5 = made.snapshot, made.snapshot_md5
    target = snapshot_file(lake, path)
    target.parent.mkdir(parents=True)
    if not isinstance(settings.lake, Path):
        store = snapshot_store(settings)
        store.bring(path, md5)
        with store.local(path) as copy:
            shutil.copyfile(copy, target)
        return "dvc", []
    present = snapshot_file(settings.lake, path)
    if present.exists() and _md5(present) == md5:
        shutil.copyfile(present, target)
        return "lake", []
    write_pointer(target, md5)
    try:
        SnapshotStore(lake, settings.dvc_remote).restore(target)
    except SnapshotStoreError:
        if not present.exists():
            raise
        shutil.copyfile(present, target)
        return "lake", [
            f"data: the version was trained on md5 {md5}, DVC cannot fetch it, and {present} has {_md5(present)}"
        ]
    found = _md5(target)
    return "dvc", [] if found == md5 else [f"data: the version has md5 {md5}, DVC fetched {found}"]


def _train_again(
    folder: Path,
    files: Path,
    spec: ModelSpec,
    candidate: CandidateSpec,
    stored: ModelVersion,
    made: Lineage,
) -> dict[str, Any]:
    job = folder / "job.json"
    job.write_text(
        json.dumps(
            {
                "spec": spec.canonical(),
                "candidate": candidate.model_dump(mode="json"),
                "as_of": made.as_of and made.as_of.isoformat(),
                "snapshot": made.snapshot,
                "lake": str(folder / "lake"),
                "model": str(files),
            }
        ),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "evermodel.pipelines.reproduce_worker", str(job)]
    # As many threads as in the training: sums that are split differently differ in their last bits.
    env = {**os.environ, "OMP_NUM_THREADS": made.threads or thread_count()}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TrainingError(
            f"version {stored.version} of {stored.name} cannot be trained again: {last}",
            f"check out commit {made.git_commit or 'unknown'} and install the model's requirements",
        )
    compared: dict[str, Any] = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    return compared


def _parsed(text: str, declared: object) -> Any:
    """Turn a parameter that MLflow keeps as text back into a value; what the spec writes the same way is the value."""
    import ast

    if declared is not None and str(declared) == text:
        return declared
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest()


@dataclass(frozen=True)
class Reproduction:
    """The comparison of a version with its reproduction.

    Parameters
    ----------
    identical
        True if every answer to every test row is the same, bit for bit.
    rows, different_rows, largest_difference, digits
        Of the test window: its rows, those answered differently, the largest distance between two answers, and in how many
        digits all agree.
    snapshot_from
        ``lake`` or ``dvc``.
    commit, commit_now
        Of the code then and now; the code is not checked out.
    processor, processor_now
        Of the machine then and now: another one may round sums differently.
    differences
        What differs between then and now, each in one sentence: the suspects when the answers differ.
    """

    model: str
    version: str
    identical: bool
    rows: int
    different_rows: int
    largest_difference: float | None
    digits: int | None
    candidate: str
    params: dict[str, Any]
    seed: int
    snapshot: str
    snapshot_md5: str
    snapshot_from: str
    commit: str
    commit_now: str
    processor: str
    processor_now: str
    differences: tuple[str, ...]

    @property
    def reproduced(self) -> bool:
        """Whether the version is the same model: bit for bit, or up to the rounding of another processor."""
        rounded = self.digits is not None and self.digits >= _ROUNDING and self._another_processor
        return self.identical or (rounded and not self.differences)

    @property
    def _another_processor(self) -> bool:
        return self.processor not in ("unknown", self.processor_now)

    def sentences(self) -> list[str]:
        """Return the comparison as lines of text."""
        name = f"{self.model} version {self.version}"
        if self.identical:
            first = f"{name} is reproduced: all {self.rows:,} test rows have the same answer, bit for bit"
        elif self.reproduced:
            first = (
                f"{name} is reproduced: all {self.rows:,} test rows have the same answer to {self.digits} digits "
                "(fitted on another processor, which rounds sums differently)"
            )
        else:
            gap = "another shape" if self.largest_difference is None else f"{self.largest_difference:.3g}"
            first = (
                f"{name} is NOT reproduced: {self.different_rows:,} of {self.rows:,} test rows differ "
                f"(largest difference: {gap})"
            )
        lines = [
            first,
            f"  snapshot {self.snapshot} (DVC md5 {self.snapshot_md5}), from the {self.snapshot_from}",
            f"  candidate {self.candidate}, parameters {json.dumps(self.params)}, seed {self.seed}",
            f"  git commit {self.commit} then, {self.commit_now} now{self._same_commit()}; the run used today's code",
        ]
        if self._another_processor:
            lines.append(f"  processor {self.processor} then, {self.processor_now} now")
        lines += [f"  differs: {difference}" for difference in self.differences]
        if not self.reproduced and not self.differences:
            lines.append(
                "  data, spec, parameters, seed and packages are identical: check the code (git commit), "
                "the number of threads (OMP_NUM_THREADS) and the machine"
            )
        return lines

    def _same_commit(self) -> str:
        if "unknown" in (self.commit, self.commit_now):
            return ""
        return " (the same)" if self.commit == self.commit_now else " (NOT the same)"
