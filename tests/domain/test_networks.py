"""Networks of PyTorch: fitted, stopped early, resumed after a kill, stored as arrays, served without PyTorch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed here (`make torch`)")

from evermodel.core.errors import ModelFormatError, SpecError, TrainingError  # noqa: E402
from evermodel.data.dtypes import feature_frame  # noqa: E402
from evermodel.modeling import tasks  # noqa: E402
from evermodel.modeling.estimators import build_estimator, build_pipeline, calibrated  # noqa: E402
from evermodel.modeling.model_store import download, load_files  # noqa: E402
from evermodel.modeling.networks.epochs import NetworkFit  # noqa: E402
from evermodel.modeling.networks.kept_epochs import EpochStore, KeptEpoch, keeping_epochs  # noqa: E402
from evermodel.modeling.onnx.export import export  # noqa: E402
from evermodel.modeling.onnx.export_if_equal import compare  # noqa: E402
from evermodel.modeling.onnx.graph import NotExportableError  # noqa: E402
from evermodel.modeling.onnx.runtime import start  # noqa: E402
from evermodel.modeling.skops_files import read_pipeline, write_pipeline  # noqa: E402
from evermodel.modeling.training import TrainedCandidate  # noqa: E402
from evermodel.spec import CandidateSpec  # noqa: E402
from evermodel.spec.features import OwnCode  # noqa: E402
from evermodel.stats.weights import fit_arguments  # noqa: E402
from support.flights import World  # noqa: E402
from support.small_spec import small_spec  # noqa: E402
from support.training_jobs import workbench  # noqa: E402
from support.whole_loop import go_round  # noqa: E402

TYPES = ("own_networks.Mlp",)
TASKS = ("binary", "multiclass", "regression")


def candidate(name: str = "Mlp", **params: Any) -> dict[str, Any]:
    given = {"epochs": 6, "batch_size": 64, "learning_rate": 0.02, **params}
    return {"name": "mlp", "estimator": f"own_networks.{name}", "params": given}


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_TRUSTED_PACKAGES", "own_networks")


def fitted(task: str = "binary", name: str = "Mlp", **params: Any) -> tuple[Any, Any, Any, Any]:
    """A spec, its fitted pipeline, and the rows and labels that it was fitted on."""
    job = workbench(candidate(name, **params))
    spec = small_spec(task=task, candidates=[candidate(name, **params)], trusted_types=TYPES)
    frame, labels = job.rows.frame, job.rows.labels
    signal_ = frame["amount"].to_numpy() + (frame["colour"] == "red").to_numpy()
    if task == "multiclass":
        labels = np.array(["low", "middle", "high"])[np.digitize(signal_, [-0.2, 0.8])]
    elif task == "regression":
        labels = 1000 + 50 * signal_
    return spec, build_pipeline(spec, spec.candidates[0]).fit(frame, labels), frame, labels


@pytest.mark.parametrize("task", TASKS)
def test_a_network_learns_and_its_graph_gives_the_same_answers(task: str) -> None:
    spec, pipeline, frame, labels = fitted(task, epochs=20)
    classes = tasks.classes_of(spec, labels, pipeline)
    answers = tasks.predict(spec, pipeline, frame, classes)
    name, least = {"binary": ("roc_auc", 0.85), "multiclass": ("accuracy", 0.9), "regression": ("r2", 0.95)}[
        task
    ]
    metric = tasks.metric_of(spec, name)
    scored = metric(tasks.encode(labels, classes), metric.answers(answers, 0.5))
    assert scored > least

    agreement = compare(pipeline, start(export(pipeline)), frame, pa.Table.from_pandas(frame))
    assert agreement.holds
    assert agreement.largest < 1e-10


def test_an_operator_without_64_bits_is_computed_in_32() -> None:
    _, pipeline, frame, _ = fitted(name="Narrow")
    agreement = compare(pipeline, start(export(pipeline)), frame, pa.Table.from_pandas(frame))
    assert 1e-10 < agreement.largest < 1e-6
    assert next(pipeline[-1].double_network().parameters()).dtype == torch.float64


def test_a_network_that_has_no_graph_says_so() -> None:
    _, pipeline, _, _ = fitted(name="Strange")
    with pytest.raises(NotExportableError, match=r"own_networks\.Strange has no graph"):
        export(pipeline)


def test_a_calibrated_network_has_a_graph_too() -> None:
    _, pipeline, frame, labels = fitted()
    whole = calibrated(pipeline, "isotonic", frame, labels)
    assert compare(whole, start(export(whole)), frame, pa.Table.from_pandas(frame)).largest < 1e-9


def test_early_stopping_takes_the_epochs_that_later_rows_like_best() -> None:
    whole = candidate(epochs=40, learning_rate=0.3, hidden=64, dropout=0.0)
    job = workbench(whole, per_day=20, noise=2.0, training={"early_stopping": True})
    found = job.fit(dict(job.candidate.params))
    assert 0 < found.params["epochs"] < 40
    assert found.searched["epochs"] == 40
    alone = workbench(whole, per_day=20, noise=2.0).fit(dict(job.candidate.params))
    assert found.metrics["roc_auc"] >= alone.metrics["roc_auc"]


def test_rows_are_weighted() -> None:
    spec, plain, frame, labels = fitted()
    weights = np.where(labels == 1, 5.0, 0.5)
    weighted = build_pipeline(spec, spec.candidates[0]).fit(
        frame, labels, **fit_arguments("mlp", plain, weights)
    )
    means = [tasks.predict(spec, one, frame).mean() for one in (plain, weighted)]
    assert means[1] > means[0] + 0.1


def test_the_same_rows_give_the_same_weights_whatever_was_drawn_before() -> None:
    weights = []
    for threads in (1, 2):
        torch.manual_seed(threads)
        torch.set_num_threads(threads)
        weights.append(fitted()[1][-1].weights_)
        assert torch.get_num_threads() == threads
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_stored_network_is_arrays_and_a_name_on_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, pipeline, frame, _ = fitted()
    write_pipeline(pipeline, tmp_path / "model.skops", spec.own_code)
    again = read_pipeline(tmp_path / "model.skops", spec.own_code)
    assert again.predict_proba(frame).tolist() == pipeline.predict_proba(frame).tolist()

    for types, packages in (((), "own_networks"), (("own_networks.Narrow",), "own_networks"), (TYPES, "")):
        monkeypatch.setenv("EVERMODEL_TRUSTED_PACKAGES", packages)
        with pytest.raises(ModelFormatError, match=r"untrusted types: own_networks\.Mlp"):
            read_pipeline(tmp_path / "model.skops", OwnCode(types=types))
    with pytest.raises(ModelFormatError, match="is not trusted here"):
        again[-1].__class__(**again[-1].get_params()).fit(np.zeros((4, 2)), np.array([0, 1, 0, 1]))


@pytest.mark.parametrize(
    ("name", "params", "task", "said"),
    [
        ("Mlp", {"depth": 3}, "binary", "Mlp has no parameter depth"),
        ("Mlp", {"inputs": 3}, "binary", "Mlp has no parameter inputs"),
        ("Mlp", {}, "ranking", "is not a ranker"),
    ],
)
def test_what_cannot_be_built_is_told(name: str, params: dict[str, Any], task: Any, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        build_estimator(CandidateSpec(**candidate(name, **params)), 0, task)


def test_a_network_that_fails_is_told_with_its_candidate() -> None:
    job = workbench(candidate("Failing"))
    with pytest.raises(TrainingError, match="candidate mlp cannot be fitted"):
        job.fit(dict(job.candidate.params))


def test_an_interrupted_fit_goes_on_after_its_last_epoch_and_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while an epoch is written: what was there before is whole, and no epoch is computed again."""
    store, done = EpochStore(tmp_path, "retrain", "mlp"), []
    epoch = NetworkFit._epoch
    monkeypatch.setattr(NetworkFit, "_epoch", lambda *given: (done.append(1), epoch(*given))[1])
    job = workbench(candidate(epochs=8), training={"early_stopping": True})

    def fit() -> Any:
        with keeping_epochs(store.read(), store.write):
            return job.fit(dict(job.candidate.params))

    child = os.fork()
    if child == 0:
        count = [0]

        def dying(kept: KeptEpoch) -> None:
            count[0] += len(kept.name) == 32
            if count[0] == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            store.write(kept)

        with keeping_epochs({}, dying):
            job.fit(dict(job.candidate.params))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    resumed = fit()
    epochs_done, _ = len(done), done.clear()
    again = fit()
    assert not done  # all of them are known
    store.clear()
    assert not store.folder.exists()
    whole = fit()
    assert epochs_done == len(done) - 4
    for one in (resumed, again):
        assert one.params == whole.params
        assert one.metrics == whole.metrics
        mine, theirs = one.pipeline[-1].weights_, whole.pipeline[-1].weights_
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)


def test_epochs_of_other_rows_or_parameters_are_not_taken_over(tmp_path: Path) -> None:
    store = EpochStore(tmp_path, "retrain", "mlp")
    for params in ({}, {"hidden": 8}, {"random_state": 5}):
        with keeping_epochs(store.read(), store.write):
            fitted(**params)
    names = {name for name in store.read() if len(name) == 32}
    assert len(names) == 3


def test_epochs_without_those_that_early_stopping_needs_are_not_taken_over(tmp_path: Path) -> None:
    """A file was lost, or deleted before the process that deleted them was killed."""
    store = EpochStore(tmp_path, "retrain", "mlp")
    for _ in range(2):
        with keeping_epochs(store.read(), store.write):
            estimator = fitted()[1][-1]
        assert list(dict(estimator.staged(np.zeros((1, 4))))) == [1, 2, 3, 4, 5, 6]
        next(store.folder.glob("*-3")).unlink()


def test_what_an_unfinished_retrain_left_is_deleted_by_the_next(tmp_path: Path) -> None:
    left, beside, mine = (
        EpochStore(tmp_path, *place) for place in (("one", "mlp"), ("two", "mlp2"), ("two", "mlp"))
    )
    for store in (left, beside, mine):
        store.write(KeptEpoch("epoch", b"weights"))
    mine.clear()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [beside.folder / "epoch"]
    assert not left.folder.parent.exists()


_DIES = """
import os, signal, sys
from evermodel.modeling.networks.kept_epochs import EpochStore
from evermodel.core.settings import Settings
from evermodel.pipelines.retrain import Retrain
from evermodel.registry.tracking import connect
from evermodel.spec import load_spec
from evermodel.spec.window import parse_moment

name, key, as_of, reason, snapshot, last = sys.argv[1:]
settings, write, kept = Settings.from_environment(), EpochStore.write, []

def dying(store, epoch):
    write(store, epoch)
    kept.append(epoch.name)
    if len(kept) == int(last):
        os.kill(os.getpid(), signal.SIGKILL)

EpochStore.write = dying
spec = load_spec(name, settings)
retrain = Retrain(spec, key, parse_moment(as_of), reason, connect(settings.tracking_uri), settings)
retrain.train(spec.candidates[0], snapshot)
"""


def _train(world: World, key: str, *killed_after: int) -> TrainedCandidate:
    """Train the candidate; before that in processes of their own that are killed right after so many epochs were kept.

    They are no forks: of a process that has used OpenMP, one may hang.
    """
    retrain = world.retrain("2013-03-11", key)
    snapshot = retrain.extract().path
    environment = {**os.environ, **world.environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    given = [sys.executable, "-c", _DIES, world.name, key, "2013-03-11", retrain.reason, snapshot]
    for number in killed_after:
        died = subprocess.run([*given, str(number)], env=environment, check=False)
        assert died.returncode == -signal.SIGKILL
        assert list((world.settings.lake / "epochs" / world.name).rglob("*-*"))
    return retrain.train(world.spec.candidates[0], snapshot)


def test_a_killed_retrain_goes_on_and_ends_as_one_that_was_not(world: World) -> None:
    """Killed in the fold and in the final fit; the runs and models are those of one attempt."""
    world.change(candidates=[candidate(epochs=4)], trusted_types=list(TYPES))
    trained, plain = _train(world, "killed", 3, 7), _train(world, "plain")
    assert not [path for path in (world.settings.lake / "epochs").rglob("*") if path.is_file()]
    assert (trained.validation, trained.params) == (plain.validation, plain.params)

    weights = []
    for one in (trained, plain):
        folder = world.folder / one.mlflow_run
        download(world.client, one.model_uri, folder)
        weights.append(load_files(folder, world.spec.own_code).pipeline[-1].weights_)
        experiment = world.client.get_run(one.mlflow_run).info.experiment_id
        models = world.client.search_logged_models([experiment], f"source_run_id = '{one.mlflow_run}'")
        assert [model.model_uri for model in models] == [one.model_uri]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])


_ANSWER = """
import json, sys
for name in ("torch", "sklearn", "pandas", "own_networks"):
    sys.modules[name] = None
from pathlib import Path
from evermodel.modeling.scoring.loaded_version import read_served
from evermodel.spec import ModelSpec
spec, rows = json.load(sys.stdin)
served = read_served(ModelSpec.model_validate(spec), "1", Path(sys.argv[1]))
print(json.dumps([served.engine, [answer.score for answer in served.predict([tuple(row) for row in rows])]]))
"""


def test_the_whole_loop_and_an_answer_without_pytorch(world: World) -> None:
    done = go_round(world, "binary", candidate(epochs=4), trusted_types=list(TYPES))
    spec = done.world.spec
    assert done.served.engine == "onnx"
    packages = json.loads((done.files / "packages.json").read_text())["packages"]
    assert list(packages) == ["own_networks"]

    log = done.log.dropna().head(3)
    rows = feature_frame(spec, log)[list(done.served.inputs.names)].to_numpy(dtype=object).tolist()
    answered = subprocess.run(
        [sys.executable, "-c", _ANSWER, str(done.files)], capture_output=True, text=True, check=True,
        input=json.dumps([spec.canonical(), rows]), env={**os.environ, "EVERMODEL_TRUSTED_PACKAGES": ""},
    )  # fmt: skip
    engine, scores = json.loads(answered.stdout)
    assert engine == "onnx"
    np.testing.assert_allclose(scores, log["score"], rtol=0, atol=1e-12)
