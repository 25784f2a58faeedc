"""A network of PyTorch as an estimator whose stored state is its weights as arrays, and the name of its class."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from evermodel.core.errors import ModelFormatError
from evermodel.core.extras import named_extras
from evermodel.core.formats import stamped, unstamped
from evermodel.core.settings import trusted_packages
from evermodel.modeling.networks.epochs import FitSettings, Loss, NetworkFit, Weights
from evermodel.modeling.own_packages import versions_of

if TYPE_CHECKING:
    import torch

    from evermodel.stats.metrics import Floats

_HIDDEN = ("_network", "_stages")  # of the process, not of the model


def is_network(kind: Any) -> bool:
    """Tell whether a class is a network of PyTorch, without importing PyTorch."""
    return inspect.isclass(kind) and any(
        (base.__module__, base.__name__) == ("torch.nn.modules.module", "Module") for base in kind.__mro__
    )


class Network(BaseEstimator):  # type: ignore[misc]
    """A network on a matrix of numbers: fitted in 32 bits, as networks are, and answering in 64, as graphs do.

    Parameters
    ----------
    network
        Import path of its class, which takes ``inputs`` and ``outputs`` (columns of the matrix and of its answers).
    params
        The class's other parameters, and those of `FitSettings`.
    """

    _loss: Loss

    def __init__(self, network: str = "", params: Mapping[str, Any] | None = None) -> None:
        self.network = network
        self.params = params

    def fit(self, X: Any, y: NDArray[Any], sample_weight: Any = None) -> Network:
        """Fit on a matrix and its labels."""
        rows = np.asarray(X, dtype=np.float32)
        weights = np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight)
        self.n_features_in_, target = rows.shape[1], self._target(y)
        self.weights_, self._stages = NetworkFit(
            self._built, self._identity(), rows, target, weights.astype(np.float32), self._kind, self._settings()
        ).run()  # fmt: skip
        return self

    def staged(self, X: Any) -> Iterator[tuple[int, Floats]]:
        """Yield numbers of epochs, evenly spread, and what the network answered after so many; for the one just fitted."""
        for epoch, weights in self._stages.items():
            yield epoch, self._shaped(self._outputs(X, self._loaded(weights)))

    def double_network(self) -> torch.nn.Module:
        """Return the network as it answers: in 64 bits, ready to be asked."""
        if not hasattr(self, "_network"):
            self._network = self._loaded(self.weights_)
        return self._network

    @property
    def _kind(self) -> Loss:
        return self._loss

    @property
    def _columns(self) -> int:
        return 1

    def _target(self, y: NDArray[Any]) -> NDArray[Any]:
        raise NotImplementedError

    def _shaped(self, outputs: Floats) -> Floats:
        raise NotImplementedError

    def _answers(self, X: Any) -> Floats:
        return self._shaped(self._outputs(X, self.double_network()))

    def _outputs(self, X: Any, network: torch.nn.Module) -> Floats:
        import torch

        with torch.inference_mode():
            answers: Floats = network(torch.from_numpy(np.array(X, dtype=np.float64))).numpy()
        return answers

    def _loaded(self, weights: Weights) -> torch.nn.Module:
        import torch

        network = self._built()
        network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        return network.double().eval()

    def _built(self) -> torch.nn.Module:
        module, _, name = self.network.rpartition(".")
        if module.partition(".")[0] not in trusted_packages():
            raise ModelFormatError(
                f"the package of the network {self.network} is not trusted here",
                "name it in EVERMODEL_TRUSTED_PACKAGES",
            )
        with named_extras():
            kind = getattr(import_module(module), name)
        own = {name: value for name, value in (self.params or {}).items() if name not in FitSettings._fields}
        network: torch.nn.Module = kind(inputs=self.n_features_in_, outputs=self._columns, **own)
        return network

    def _settings(self) -> FitSettings:
        given = {name: value for name, value in (self.params or {}).items() if name in FitSettings._fields}
        return FitSettings(**given)

    def _identity(self) -> str:
        package = self.network.partition(".")[0]
        params = json.dumps(self.params or {}, sort_keys=True, default=str)
        return f"{self.network} {params} {self._kind} {versions_of([package])[package]}"

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in super().__getstate__().items() if name not in _HIDDEN}
        return stamped(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(unstamped(state, "the model"))


class NetworkClassifier(ClassifierMixin, Network):  # type: ignore[misc]
    """A classifier: one output (the log odds of the second class) of two classes, else one of each class."""

    @property
    def _kind(self) -> Loss:
        return "binary" if len(self.classes_) == 2 else "multiclass"

    @property
    def _columns(self) -> int:
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def predict_proba(self, X: Any) -> Floats:
        """Return the probability of each class."""
        return self._answers(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest class."""
        return np.asarray(self.classes_[self._answers(X).argmax(axis=1)])

    def _target(self, y: NDArray[Any]) -> NDArray[Any]:
        self.classes_, codes = np.unique(y, return_inverse=True)
        return codes

    def _shaped(self, outputs: Floats) -> Floats:
        from scipy.special import expit, softmax

        if outputs.shape[1] > 1:
            return np.asarray(softmax(outputs, axis=1))
        positive = expit(outputs[:, 0])
        return np.column_stack([1 - positive, positive])


class NetworkRegressor(RegressorMixin, Network):  # type: ignore[misc]
    """A regressor, fitted to labels of mean 0 and variance 1 by the squared error."""

    _loss = "regression"

    def predict(self, X: Any) -> Floats:
        """Return the value of each row."""
        return self._answers(X)

    def _target(self, y: NDArray[Any]) -> NDArray[Any]:
        values = np.asarray(y, dtype=np.float64)
        self.center_, self.scale_ = float(values.mean()), float(values.std()) or 1.0
        return (values - self.center_) / self.scale_

    def _shaped(self, outputs: Floats) -> Floats:
        return outputs[:, 0] * self.scale_ + self.center_
