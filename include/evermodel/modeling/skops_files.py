"""Fitted pipelines as skops files: written and loaded only if all that they name is on an exact list."""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from evermodel.core.atomic import replacing
from evermodel.core.errors import ModelFormatError
from evermodel.core.settings import trusted_packages
from evermodel.modeling.boosting.libraries import LIBRARIES, distribution_of
from evermodel.spec.features import NO_OWN_CODE, OwnCode

if TYPE_CHECKING:
    from evermodel.modeling.tasks import FittedPipeline

NETWORKS = tuple(
    f"evermodel.modeling.networks.estimators.Network{kind}" for kind in ("Classifier", "Regressor")
)
# Classes and functions beside skops' own lists, with the only node type that may name each; all are plain data or pure.
TRUSTED_TYPES = {
    "collections.OrderedDict": ("DictNode", "TypeNode"),
    "evermodel.modeling.boosting.estimators.BoostedClassifier": (
        "ObjectNode",
    ),  # bytes that the library parses
    "evermodel.modeling.boosting.estimators.BoostedRanker": ("ObjectNode",),
    "evermodel.modeling.boosting.estimators.BoostedRegressor": ("ObjectNode",),
    **dict.fromkeys(NETWORKS, ("ObjectNode",)),  # arrays, and the name of a class that is checked as well
    "evermodel.modeling.row_expressions.RowExpressions": ("ObjectNode",),  # texts that are read, never run
    "evermodel.modeling.user_features.UserFeatures": (
        "ObjectNode",
    ),  # names of columns and of the spec's module
    "functools.partial": ("PartialNode",),  # what it wraps is checked as well
    "lightgbm.basic.Booster": ("ObjectNode",),  # a text that the library parses
    "lightgbm.sklearn.LGBMClassifier": ("ObjectNode",),
    "lightgbm.sklearn.LGBMRegressor": ("ObjectNode",),
    "numpy.dtype": ("DTypeNode",),
    "sklearn._loss.link.Interval": ("ObjectNode",),
    "sklearn._loss.link.LogitLink": ("ObjectNode",),
    "sklearn._loss.link.IdentityLink": ("ObjectNode",),
    "sklearn._loss.loss.HalfBinomialLoss": ("ObjectNode",),
    "sklearn._loss.loss.HalfTweedieLossIdentity": ("ObjectNode",),
    "sklearn.calibration._CalibratedClassifier": ("ObjectNode",),
    "sklearn.calibration._SigmoidCalibration": ("ObjectNode",),
    "sklearn.compose._column_transformer.make_column_selector": ("ObjectNode",),
    "sklearn.compose._column_transformer._RemainderColsList": ("ObjectNode", "ListNode"),
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": ("ObjectNode",),
    "sklearn.feature_selection._univariate_selection.chi2": ("FunctionNode",),
    "sklearn.feature_selection._univariate_selection.f_classif": ("FunctionNode",),
    "sklearn.feature_selection._univariate_selection.f_regression": ("FunctionNode",),
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer": ("ObjectNode",),
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer": ("ObjectNode",),
    "sklearn.tree._tree.Tree": ("TreeNode",),  # arrays of nodes; scikit-learn checks their types and sizes
    "sklearn.utils._bunch.Bunch": ("DictNode",),
    "sklearn.utils.validation.check_array": ("FunctionNode",),
    "xgboost.core.Booster": ("ObjectNode",),  # bytes that the library parses
    "xgboost.sklearn.XGBClassifier": ("ObjectNode",),
    "xgboost.sklearn.XGBRegressor": ("ObjectNode",),
    "xgboost.sklearn.XGBRFClassifier": ("ObjectNode",),
    "xgboost.sklearn.XGBRFRegressor": ("ObjectNode",),
}
# The series of the libraries that the list was checked against, as in pyproject.toml; of skops, its own lists as well.
REVIEWED = {"skops": "0.16", **{name: library.reviewed for name, library in LIBRARIES.items()}}
# Classes by the path that earlier releases stored, and the module that has them now.
MOVED_TYPES = {"evermodel.user_features.UserFeatures": "evermodel.modeling.user_features"}
# Of skops' node types those that hold data, or name something on a list. The others call what they name with arguments
# of the file (ConstructorFromReduceNode), or reach for attributes (MethodNode, OperatorFuncNode).
NODES = {
    "JsonNode", "DictNode", "DefaultDictNode", "ListNode", "SetNode", "TupleNode", "SliceNode", "BytesNode",
    "BytearrayNode", "NdArrayNode", "MaskedArrayNode", "DTypeNode", "RandomStateNode", "RandomGeneratorNode",
    "SparseMatrixNode", "TypeNode", "FunctionNode", "PartialNode", "ObjectNode", "TreeNode", "LossNode",
}  # fmt: skip
_VECTORIZERS = {f"sklearn.feature_extraction.text.{name}Vectorizer" for name in ("Count", "Hashing", "Tfidf")}
_OWN_NODES = ("ObjectNode", "FunctionNode", "TypeNode")
_PROTOCOL = 2  # older ones resolve names from other places of a node


def write_pipeline(pipeline: FittedPipeline, file: Path, own: OwnCode = NO_OWN_CODE) -> None:
    """Write a fitted pipeline as one skops file, atomically.

    Parameters
    ----------
    own
        What the spec lets it name beside the libraries.

    Raises
    ------
    ModelFormatError
        The pipeline holds something that is not on the list.
    """
    content, _ = checked_dump(pipeline, own)
    with replacing(file) as temporary:
        temporary.write_bytes(content)


def read_pipeline(file: Path, own: OwnCode = NO_OWN_CODE) -> FittedPipeline:
    """Load a skops file without running code from it.

    Parameters
    ----------
    own
        What the spec lets it name beside the libraries: only its module, or one of the same package, may derive features.

    Raises
    ------
    ModelFormatError
        The file is damaged, or names something that is not on the list.
    """
    from evermodel.modeling.user_features import loading_features

    trusted = checked_names(file, str(file.parent), own)
    for moved in MOVED_TYPES.keys() & set(trusted):
        sys.modules.setdefault(moved.rpartition(".")[0], import_module(MOVED_TYPES[moved]))
    try:
        with loading_features(own.module):
            pipeline: FittedPipeline = _skops_io().load(file, trusted=trusted)
    except ModelFormatError:
        raise
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise ModelFormatError(f"{file}: cannot be loaded ({told})", "retrain or roll back") from error
    return pipeline


def checked_dump(pipeline: FittedPipeline, own: OwnCode = NO_OWN_CODE) -> tuple[bytes, list[str]]:
    """Return a pipeline as skops writes it, and what it names beside skops' own lists.

    Raises
    ------
    ModelFormatError
        It holds something that is not on the list.
    """
    content: bytes = _skops_io().dumps(pipeline)
    return content, checked_names(content, type(pipeline).__name__, own)


def checked_names(source: Path | bytes, where: str, own: OwnCode = NO_OWN_CODE) -> list[str]:
    """Return the names beside skops' own lists, after a check of each node."""
    skops_io, given = _skops_io(), {"data": source} if isinstance(source, bytes) else {"file": source}
    name = source.name if isinstance(source, Path) else "the pipeline"
    try:
        with ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as stored:
            schema = json.loads(stored.read("schema.json"))
        allowed = _allowed(own)
        refused = _refused(schema, allowed)
        types = [] if refused else [*skops_io.get_untrusted_types(**given), *_networks(schema)]
    except (
        OSError,
        BadZipFile,
        ImportError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise ModelFormatError(
            f"{where}: {name} is not a readable skops file ({error})", "retrain or roll back"
        ) from error
    refused |= {found for found in types if found not in allowed}
    if refused:
        raise ModelFormatError(
            f"{where}: the model contains untrusted types: {', '.join(sorted(refused))}",
            "use estimators of scikit-learn, lightgbm, xgboost or catboost; list classes of your own under `trusted_types`, and "
            "their packages in EVERMODEL_TRUSTED_PACKAGES",
        )
    return list(types)


def packages_of(names: list[str]) -> set[str]:
    """Return the packages of a user's own among names that were checked."""
    return {name.partition(".")[0] for name in names if name not in TRUSTED_TYPES and name not in MOVED_TYPES}


def _allowed(own: OwnCode) -> dict[str, tuple[str, ...]]:
    """Return what a model may name beside skops' own lists, with the node types that may name each."""
    packages = trusted_packages()
    mine = {name: _OWN_NODES for name in own.types if name.partition(".")[0] in packages}
    return {**mine, **dict.fromkeys(MOVED_TYPES, ("ObjectNode",)), **TRUSTED_TYPES}


def _refused(schema: Any, allowed: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Return what a schema may not have: node types, names in a node of another type, or libraries not reviewed."""
    if schema["protocol"] < _PROTOCOL:
        return {f"protocol {schema['protocol']} of skops"}
    refused, libraries, left = set[str](), {"skops"}, [schema]
    while left:
        node = left.pop()
        if isinstance(node, dict) and "__loader__" in node:
            kind, name = node["__loader__"], f"{node['__module__']}.{node['__class__']}"
            if kind not in NODES:
                refused.add(f"{kind} of {name}")
            elif kind not in allowed.get(name, NODES):
                refused.add(f"{name} in a {kind}")
            if kind == "ObjectNode" and name in _VECTORIZERS and not _takes_content(node):
                refused.add(f"{name} that reads files")
            libraries.add(str(node["__module__"]).partition(".")[0])
        left += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    installed = {library: distribution_of(library)[1] for library in REVIEWED.keys() & libraries}
    return refused | {
        f"{library} {number} (checked: {REVIEWED[library]})"
        for library, number in installed.items()
        if not f"{number}.".startswith(f"{REVIEWED[library]}.")
    }


def _takes_content(node: Any) -> bool:
    """Return whether a vectorizer takes texts, not names of files, which whoever asks for a score could choose."""
    return bool(_text(node, "input") == '"content"')


def _networks(schema: Any) -> list[str]:
    """Return the classes of networks that estimators name by a text, and build when they are asked."""
    found, left = [], [schema]
    while left:
        node = left.pop()
        name = f"{node.get('__module__')}.{node.get('__class__')}" if isinstance(node, dict) else ""
        if name in NETWORKS:
            text = _text(node, "network")
            found.append(
                str(json.loads(text)) if isinstance(text, str) else f"{name} without the name of a class"
            )
        left += node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return found


def _text(node: Any, attribute: str) -> Any:
    """Return the JSON of an object's attribute; None if it has no such text."""
    for key in ("content", "content", attribute, "content"):
        node = node.get(key) if isinstance(node, dict) else None
    return node


def _skops_io() -> Any:
    """Import skops quietly: it looks at every attribute of every loaded module, and Airflow's old ones complain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import skops.io
    return skops.io
