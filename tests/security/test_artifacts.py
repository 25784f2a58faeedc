"""A stored model is data: nothing that stands in its folder is run when it is loaded."""

from __future__ import annotations

import contextlib
import io
import json
import pkgutil
import sys
import tomllib
import types
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import skops.io
import yaml
from packaging.requirements import Requirement
from sklearn.feature_extraction import text as text_features
from sklearn.pipeline import make_pipeline

from evermodel.core.errors import ModelFormatError
from evermodel.modeling import skops_files
from evermodel.modeling.boosting import libraries
from evermodel.modeling.model_store import load_files, load_graph
from evermodel.modeling.skops_files import checked_names
from evermodel.spec.features import OwnCode
from support.paths import PROJECT

Node = dict[str, Any]
# What may be named besides estimators of scikit-learn; each is a plain type, a pure function or a holder of arrays.
PURE = {
    *("builtins.int", "builtins.float", "builtins.str", "builtins.bool", "builtins.list", "builtins.set"),
    *("builtins.map", "builtins.tuple", "builtins.dict", "builtins.bytes", "builtins.bytearray"),
    *("collections.OrderedDict", "functools.partial", "numpy.dtype"),
    *("sklearn.utils.validation.check_array", "sklearn.utils._bunch.Bunch"),
    *(f"sklearn.feature_selection._univariate_selection.{n}" for n in ("chi2", "f_classif", "f_regression")),
}
BOOSTERS = {
    *("lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier", "lightgbm.sklearn.LGBMRegressor"),
    *("xgboost.core.Booster", "xgboost.sklearn.XGBClassifier", "xgboost.sklearn.XGBRegressor"),
    *("xgboost.sklearn.XGBRFClassifier", "xgboost.sklearn.XGBRFRegressor"),
}
LIBRARIES = (
    "builtins",
    "os",
    "subprocess",
    "sklearn",
    "lightgbm",
    "xgboost",
    "catboost",
    "evermodel.modeling",
)


def node(kind: str, name: str, **parts: Any) -> Node:
    module, _, kept = name.rpartition(".")
    return {"__class__": kept, "__module__": module, "__loader__": kind, **parts}


def text(value: Any) -> Node:
    return node("JsonNode", "builtins.str", content=json.dumps(value), is_json=True)


def listed(*items: Node) -> Node:
    return node("ListNode", "builtins.list", content=list(items))


def mapping(content: dict[str, Node], *keys: Node) -> Node:
    kinds = keys or [node("TypeNode", "builtins.str") for _ in content]
    return node("DictNode", "builtins.dict", key_types=listed(*kinds), content=content)


def skops_bytes(root: Node, protocol: int = 2, **files: bytes) -> bytes:
    content = io.BytesIO()
    with ZipFile(content, "w") as stored:
        stored.writestr("schema.json", json.dumps({**root, "protocol": protocol, "_skops_version": "0.16.0"}))
        for name, data in files.items():
            stored.writestr(name, data)
    return content.getvalue()


def model_folder(folder: Path, content: bytes, **flavor: Any) -> Path:
    """Write a model folder around a skops file, as MLflow does."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.skops").write_bytes(content)
    (folder / "example.json").write_text('{"columns": ["a"], "data": [[1.0]]}')
    sklearn = {"serialization_format": "skops", "pickled_model": "model.skops", **flavor}
    meta = {
        "flavors": {"sklearn": sklearn},
        "saved_input_example_info": {"artifact_path": "example.json"},
        "signature": {"inputs": json.dumps([{"name": "a", "type": "double"}])},
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(meta))
    return folder


def shell(command: str) -> Node:
    """Call `os.system` by way of a module that lightgbm imports: a dictionary's key is given to its type."""
    inspect = node("TypeNode", "lightgbm.basic.inspect")
    system = inspect
    for name in ("os", "system"):
        system = node("MethodNode", "lightgbm.basic.inspect", content={"obj": system, "func": name})
    return mapping({command: text(0)}, system)


def test_no_shell_through_what_a_trusted_library_imports(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    mark = tmp_path / "mark"
    folder = model_folder(tmp_path / "model", skops_bytes(shell(f"touch {mark}")))
    with pytest.raises(ModelFormatError, match=r"MethodNode of lightgbm\.basic\.inspect"):
        load_files(folder)
    assert not mark.exists()


def test_no_constructor_of_a_trusted_class_is_called_with_arguments_of_the_file(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm")
    secret = tmp_path / "secret"
    secret.write_text("not a model")
    arguments = node("TupleNode", "builtins.tuple", content=[text(None), text(None), text(str(secret))])
    root = node("ConstructorFromReduceNode", "lightgbm.basic.Booster", content=arguments)
    with pytest.raises(ModelFormatError, match="ConstructorFromReduceNode"):
        load_files(model_folder(tmp_path / "model", skops_bytes(root)))


@pytest.mark.parametrize("source", ["filename", "file"])
@pytest.mark.parametrize("name", ["CountVectorizer", "HashingVectorizer", "TfidfVectorizer"])
def test_no_vectorizer_takes_a_value_for_the_name_of_a_file(tmp_path: Path, name: str, source: str) -> None:
    vectorizer = getattr(text_features, name)
    kept = skops.io.dumps(make_pipeline(vectorizer(input="content")))
    checked_names(kept, "model")
    asking = skops.io.dumps(make_pipeline(vectorizer(input=source)))
    with pytest.raises(ModelFormatError, match=f"{name} that reads files"):
        load_files(model_folder(tmp_path / "model", asking))


def test_no_state_in_another_form_hides_where_a_vectorizer_reads(tmp_path: Path) -> None:
    pair = node("TupleNode", "builtins.tuple", content=[text("input"), text("filename")])
    state = node("ListNode", "builtins.list", content=[pair])
    root = node("ObjectNode", "sklearn.feature_extraction.text.CountVectorizer", content=state)
    with pytest.raises(ModelFormatError, match="reads files"):
        load_files(model_folder(tmp_path / "model", skops_bytes(root)))


@pytest.fixture(scope="module")
def names() -> dict[str, object]:
    """All that an import of a module of the allowed libraries and an attribute of it can resolve to.

    What is defined elsewhere is in it by one of its names in a library, what is no module and not callable is not.
    """
    found: dict[str, object] = {}
    seen: set[tuple[str, int]] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            with contextlib.suppress(ImportError):
                for module in _modules(import_module(library)):
                    for name, value in vars(module).items():
                        own = getattr(value, "__module__", "") == module.__name__
                        usable = callable(value) or isinstance(value, types.ModuleType)
                        if usable and (own or (library, id(value)) not in seen):
                            found[f"{module.__name__}.{name}"] = value
                            seen.add((library, id(value)))
    assert {"lightgbm.basic.ctypes", "sklearn.base.inspect"} <= found.keys()
    return found


def _modules(package: types.ModuleType) -> Iterator[types.ModuleType]:
    yield package
    for entry in pkgutil.walk_packages(
        getattr(package, "__path__", []), f"{package.__name__}.", onerror=lambda _: None
    ):
        if not {"tests", "conftest", "__main__"} & set(entry.name.split(".")):
            with contextlib.suppress(Exception):
                yield import_module(entry.name)


def _node_of(kind: str, name: str, array: str) -> Node:
    nothing = listed()
    parts = {
        "DictNode": {"key_types": nothing, "content": {}},
        "DefaultDictNode": {"content": {"main": mapping({}), "default_factory": text(None)}},
        "PartialNode": {"content": dict.fromkeys(("func", "args", "kwds", "namespace"), nothing)},
        "SliceNode": {"content": {"start": None, "stop": None, "step": None}},
        "NdArrayNode": {"type": "numpy", "file": array},
        "MaskedArrayNode": {"content": {"data": nothing, "mask": nothing}},
        "RandomGeneratorNode": {
            "content": {"bit_generator": mapping({"bit_generator": text("PCG64")}), "seed_seq": nothing}
        },
        "BytesNode": {"file": array},
        "BytearrayNode": {"file": array},
        "SparseMatrixNode": {"type": "scipy", "file": array},
        "TreeNode": {"content": nothing, "__reduce__": {"args": nothing}},
        "LossNode": {"content": nothing, "__reduce__": {"args": nothing}},
        "QuantileForestNode": {"content": nothing, "__reduce__": {"args": nothing}},
        "MethodNode": {"content": {"func": "x", "obj": node("TypeNode", name)}},
        "OperatorFuncNode": {"attrs": nothing},
        "JsonNode": {"content": "0", "is_json": True},
        "DTypeNode": {"content": nothing},
        "RandomStateNode": {"content": nothing},
        "ObjectNode": {"content": None},
    }.get(kind, {"content": []})
    return node(kind, name, **parts)


def _kinds() -> list[str]:
    from skops.io._audit import NODE_TYPE_MAPPING

    return sorted({kind for kind, _ in NODE_TYPE_MAPPING})


@pytest.mark.parametrize("kind", _kinds())
def test_no_node_resolves_a_name_beside_the_allowed_classes(kind: str, names: dict[str, object]) -> None:
    """Of each name in each type of node: it is refused, ignored (plain data), or one of the allowed classes."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1), allow_pickle=False)
    left = set(names)
    while left:
        every = listed(*(_node_of(kind, name, "a.npy") for name in sorted(left)))
        try:
            checked_names(skops_bytes(every, **{"a.npy": buffer.getvalue()}), "test")
            break
        except ModelFormatError as error:
            told = error.problem.partition("untrusted types: ")[2].split(", ")
            refused = {said.removeprefix(f"{kind} of ").partition(" ")[0] for said in told}
        assert refused & left, "each round refuses more"
        left -= refused
    if kind not in {"JsonNode", "SliceNode"}:  # which build a JSON value or a slice, whatever they are called
        assert [name for name in left if not _harmless(names[name], name)] == []
    assert left or kind not in {"ObjectNode", "TypeNode", "FunctionNode", "TreeNode"}, (
        "the walk finds classes"
    )


def _harmless(value: object, name: str) -> bool:
    """Tell whether a name is an allowed class by itself, not another thing under the name of a library."""
    from sklearn.base import BaseEstimator

    if isinstance(value, np.ufunc) or name in PURE | BOOSTERS:
        return True
    if not isinstance(value, type) or f"{value.__module__}.{value.__qualname__}" != name:
        return False
    data = ("numpy.", "scipy.sparse.", "sklearn._loss.", "sklearn.calibration._", "sklearn.tree._tree.")
    learned = ("sklearn.linear_model._sgd_fast.", "sklearn.ensemble._hist_gradient_boosting.")
    others = (
        "sklearn.neural_network._stochastic_optimizers.",
        "sklearn.compose._column_transformer._Remainder",
        "sklearn.compose._column_transformer.make_column_selector",
    )
    return issubclass(value, BaseEstimator) or name.startswith((*data, *learned, *others))


def test_the_list_holds_for_the_series_that_it_was_checked_against(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import skops.io
    from sklearn.dummy import DummyClassifier

    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = declared["optional-dependencies"]
    lines = [*extras["train"], *extras["boosting"]]
    allowed = {needed.name: needed.specifier for needed in map(Requirement, lines)}
    for name in {*skops_files.REVIEWED, "numpy", "scikit-learn"}:
        assert not allowed[name].contains("999"), f"{name} has no upper bound"
        with contextlib.suppress(PackageNotFoundError):
            found = version(name)
            assert allowed[name].contains(found)
            assert f"{found}.".startswith(f"{skops_files.REVIEWED.get(name, '')}.".lstrip("."))
    content = skops.io.dumps(DummyClassifier().fit([[0.0], [1.0]], [0, 1]))
    load_files(model_folder(tmp_path / "model", content))
    monkeypatch.setattr(libraries, "version", lambda name: "0.17.0")
    with pytest.raises(ModelFormatError, match=r"skops 0\.17\.0 \(checked: 0\.16\)"):
        load_files(tmp_path / "model")


def test_an_older_protocol_resolves_names_from_other_places_and_is_refused(tmp_path: Path) -> None:
    hidden = node("FunctionNode", "numpy.sin", content={"module_path": "os", "function": "system"})
    with pytest.raises(ModelFormatError, match="protocol 0"):
        load_files(model_folder(tmp_path / "model", skops_bytes(hidden, protocol=0)))


@pytest.mark.parametrize("kind", ["ObjectNode", "ConstructorFromReduceNode", "TypeNode"])
def test_a_features_module_that_the_spec_does_not_name_is_not_imported(tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "planted.py").write_text(f"open({str(mark)!r}, 'w')\ndef features(frame): return frame\n")
    kept = mapping({"module": text("planted"), "numeric": listed(), "categorical": listed()})
    root = node(kind, "evermodel.modeling.user_features.UserFeatures", content=kept)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        for module in (None, "own.features"):
            with pytest.raises(ModelFormatError):
                load_files(model_folder(tmp_path / "model", skops_bytes(root)), OwnCode(module))
    assert not mark.exists()
    assert "planted" not in sys.modules


@pytest.mark.parametrize("kind", _kinds())
@pytest.mark.parametrize(
    ("packages", "listed_type"),
    [("", "planted.Thing"), ("planted", "planted.Other"), ("planted2", "planted.Thing")],
)
def test_a_package_that_is_not_trusted_or_not_listed_is_not_imported(
    tmp_path: Path, kind: str, packages: str, listed_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("EVERMODEL_TRUSTED_PACKAGES", packages)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(1), allow_pickle=False)
    content = skops_bytes(_node_of(kind, "planted.Thing", "a.npy"), **{"a.npy": buffer.getvalue()})
    try:
        load_files(model_folder(tmp_path / "model", content), OwnCode(types=(listed_type,)))
    except ModelFormatError as error:
        assert kind in {"JsonNode", "SliceNode"} or "planted.Thing" in error.problem  # noqa: PT017
    assert "planted" not in sys.modules


@pytest.mark.parametrize(
    "kind", sorted(set(_kinds()) - {"ObjectNode", "FunctionNode", "TypeNode", "JsonNode", "SliceNode"})
)
def test_a_listed_type_stands_in_nodes_of_data_only(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERMODEL_TRUSTED_PACKAGES", "planted")
    with pytest.raises(ModelFormatError, match=r"planted\.Thing"):
        checked_names(
            skops_bytes(_node_of(kind, "planted.Thing", "a.npy")), "test", OwnCode(types=("planted.Thing",))
        )


def test_what_mlflow_would_run_in_a_folder_is_left_alone(tmp_path: Path) -> None:
    """`loader_module`, `code` and the requirements of an MLmodel are for MLflow's own loaders, which are not used."""
    import skops.io
    from sklearn.dummy import DummyClassifier

    fitted = DummyClassifier().fit([[0.0], [1.0]], [0, 1])
    folder, mark = model_folder(tmp_path / "model", skops.io.dumps(fitted), code="code"), tmp_path / "mark"
    (folder / "code").mkdir()
    for place in (folder, folder / "code"):
        (place / "planted_loader.py").write_text(f"open({str(mark)!r}, 'w')\n")
    meta = yaml.safe_load((folder / "MLmodel").read_text())
    meta["flavors"]["python_function"] = {
        "loader_module": "planted_loader",
        "code": "code",
        "env": "conda.yaml",
    }
    (folder / "MLmodel").write_text(yaml.safe_dump(meta))
    (folder / "requirements.txt").write_text("-e ./code\n")
    before = list(sys.path)
    assert load_files(folder).pipeline.predict([[0.0]]) == [0]
    assert (sys.path, mark.exists(), "planted_loader" in sys.modules) == (before, False, False)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system"])
def test_yaml_of_a_model_builds_no_object(tmp_path: Path, tag: str) -> None:
    folder, mark = model_folder(tmp_path / "model", b""), tmp_path / "mark"
    (folder / "MLmodel").write_text(f"flavors: {tag} ['touch {mark}']\nsaved_input_example_info: {{}}\n")
    with pytest.raises(ModelFormatError, match="no readable MLmodel"):
        load_files(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    "place", ["../outside.skops", "/etc/hostname", "a/../../outside.skops", "C:/x", "a\0b", ""]
)
@pytest.mark.parametrize("entry", ["pickled_model", "artifact_path"])
def test_files_that_an_mlmodel_names_stay_in_its_folder(tmp_path: Path, place: str, entry: str) -> None:
    import skops.io
    from sklearn.dummy import DummyClassifier

    content = skops.io.dumps(DummyClassifier().fit([[0.0], [1.0]], [0, 1]))
    (tmp_path / "outside.skops").write_bytes(content)
    folder = model_folder(tmp_path / "model", content, **({entry: place} if entry == "pickled_model" else {}))
    if entry == "artifact_path":
        meta = yaml.safe_load((folder / "MLmodel").read_text())
        meta["saved_input_example_info"][entry] = place
        (folder / "MLmodel").write_text(yaml.safe_dump(meta))
    with pytest.raises(ValueError, match="path"):
        load_files(folder)


class Bomb:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_an_array_of_a_model_is_not_unpickled(tmp_path: Path) -> None:
    buffer, mark = io.BytesIO(), tmp_path / "mark"
    np.save(buffer, np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    root = node("NdArrayNode", "numpy.ndarray", type="numpy", file="a.npy")
    with pytest.raises(ModelFormatError, match="allow_pickle=False"):
        load_files(model_folder(tmp_path / "model", skops_bytes(root, **{"a.npy": buffer.getvalue()})))
    assert not mark.exists()


def test_a_graph_reads_no_file_beside_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    onnx = pytest.importorskip("onnx")
    (tmp_path / "secret").write_bytes(np.zeros(1).tobytes())
    monkeypatch.chdir(tmp_path)
    outside = onnx.TensorProto(name="c", data_type=onnx.TensorProto.DOUBLE, dims=[1], data_location=1)
    outside.external_data.add(key="location", value="secret")
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [None, 1])
        for name in ("rows", "answers")
    ]
    add = onnx.helper.make_node("Add", ["rows", "c"], ["answers"])
    graph = onnx.helper.make_graph([add], "g", values[:1], values[1:], [outside])
    files = tmp_path / "model" / "fastpath"
    files.mkdir(parents=True)
    (files / "model.onnx").write_bytes(onnx.helper.make_model(graph, ir_version=10).SerializeToString())
    (files / "encoding.json").write_text(
        '{"names": ["a"], "columns": [], "codes": {}, "width": 1, "classes": []}'
    )
    with pytest.raises(ModelFormatError, match="cannot be read"):
        load_graph(tmp_path / "model")
