"""Models of other people: each format answers in the closed process as it does outside, and what is hostile reaches nothing."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from evermodel.core import sandbox
from evermodel.core.errors import ModelFormatError
from evermodel.core.sandbox import SandboxError
from evermodel.modeling.foreign.model import ForeignModel, OpeningRules, inputs_for
from support.foreign_models import FORMATS, NUMBERS, Made, pickled, rows

DATA = rows(60)
ASKED = pa.Table.from_pandas(DATA[NUMBERS], preserve_index=False)


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_each_format_answers_in_the_closed_process_as_outside(
    make: Callable[[Path, pd.DataFrame], Made], tmp_path: Path
) -> None:
    place, expected = make(tmp_path, DATA)

    answers = ForeignModel(str(place)).answers(ASKED)

    np.testing.assert_allclose(answers, expected, atol=1e-5)


def test_a_model_says_its_inputs_and_classes(tmp_path: Path) -> None:
    place, _ = pickled(tmp_path, DATA)

    said = ForeignModel(str(place)).describe()

    assert (said.features, said.count, said.classes) == (tuple(NUMBERS), 2, (0, 1))
    assert said.kind == "sklearn.pipeline.Pipeline"
    assert inputs_for(said, (), ["fee", "tenure", "other"]) == ("tenure", "fee")
    with pytest.raises(ModelFormatError, match="no column fee"):
        inputs_for(said, (), ["tenure"])


class Hostile:
    """Tries what a pickle must not do, and answers with what succeeded."""

    feature_names_in_ = np.asarray(NUMBERS)

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def predict(self, frame: pd.DataFrame) -> Any:
        import signal
        import socket
        import subprocess

        def deeds() -> dict[str, Callable[[], Any]]:
            parent = os.getppid()
            return {
                "read": lambda: open(self.secret).read(),
                "write": lambda: open(f"{self.secret}.new", "w"),
                "here": lambda: open("new", "w"),
                "mode": lambda: os.chmod(self.secret, 0o777),
                "cut": lambda: os.truncate(self.secret, 0),
                "delete": lambda: os.unlink(self.secret),
                "folder": lambda: os.listdir(os.path.dirname(self.secret)),
                "environment": lambda: open(f"/proc/{parent}/environ").read(),
                "network": lambda: socket.socket(),
                "unix": lambda: socket.socketpair(),
                "program": lambda: subprocess.run(["/bin/true"]),
                "fork": lambda: os.fork() or os._exit(0),
                "signal": lambda: os.kill(parent, signal.SIGCONT),
                "variable": lambda: os.environ["EVERMODEL_DATABASE"],
            }

        done = []
        for place, deed in enumerate(deeds().values(), 1):
            try:
                deed()
                done.append(place)
            except (OSError, KeyError):
                pass
        return np.asarray([*done, *[0] * len(frame)][: len(frame)], dtype=float)


def _hostile(folder: Path) -> tuple[Path, Path]:
    import cloudpickle

    secret = folder / "secrets" / "key"
    secret.parent.mkdir()
    secret.write_text("password")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        (folder / "hostile.pkl").write_bytes(cloudpickle.dumps(Hostile(str(secret))))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    return folder / "hostile.pkl", secret


DEEDS = 13  # of the fourteen; variables of the environment are never handed on


@pytest.mark.parametrize("way", ["landlock", "namespace", "trust"])
def test_a_hostile_pickle_reaches_nothing_unless_it_is_trusted(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "namespace":
        if subprocess.run(["unshare", "-Urnm", "true"], capture_output=True, check=False).returncode:
            pytest.skip("user namespaces are not allowed here")
        worker = tmp_path / "without_landlock.py"
        worker.write_text(
            "from evermodel.core import sandbox\nsandbox._FILES_ABI = 1000\n"
            "from evermodel.modeling.foreign import worker\nworker.main()\n"
        )
        monkeypatch.setattr(sandbox, "_START", [sys.executable, "-I", str(worker)])
    file, secret = _hostile(tmp_path)

    answers = ForeignModel(str(file), OpeningRules(trust=way == "trust")).answers(ASKED)

    done = [number for number in answers.tolist() if number]
    assert done == (list(range(1, DEEDS + 1)) if way == "trust" else [])
    assert secret.exists() == (way != "trust")


def test_what_has_no_sandbox_is_opened_only_when_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, expected = pickled(tmp_path, DATA)
    worker = tmp_path / "elsewhere.py"
    worker.write_text(
        "import platform\nplatform.machine = lambda: 'riscv64'\n"
        "from evermodel.modeling.foreign import worker\nworker.main()\n"
    )
    monkeypatch.setattr(sandbox, "_START", [sys.executable, "-I", str(worker)])

    with pytest.raises(SandboxError, match="neither Landlock nor seccomp"):
        ForeignModel(str(place)).answers(ASKED)
    answers = ForeignModel(str(place), OpeningRules(trust=True)).answers(ASKED)

    np.testing.assert_allclose(answers, expected)


class Endless:
    feature_names_in_ = np.asarray(NUMBERS)

    def __reduce__(self) -> Any:
        return eval, ("[0 for _ in iter(int, 1)]",)


def test_time_and_memory_are_limited(tmp_path: Path) -> None:
    file = tmp_path / "endless.pkl"
    file.write_bytes(pickle.dumps(Endless()))
    with pytest.raises(SandboxError, match="did not answer within 3 s"):
        ForeignModel(str(file), OpeningRules(seconds=3)).describe()

    file.write_bytes(pickle.dumps(_large()))
    with pytest.raises(ModelFormatError, match="MemoryError"):
        ForeignModel(str(file), OpeningRules(memory=2 << 30)).describe()


def _large() -> Any:
    class Large:
        def __reduce__(self) -> Any:
            return bytearray, (4 << 30,)

    return Large()
