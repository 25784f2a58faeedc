"""The epochs of a fit: seeded one by one, so that one that goes on after a kill ends as one that was never interrupted."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evermodel.modeling.networks.kept_epochs import KeptEpoch, keeper

if TYPE_CHECKING:
    import torch

Weights = dict[str, NDArray[Any]]
Loss = Literal["binary", "multiclass", "regression"]
STAGES = 32  # epochs whose weights are kept for early stopping


class FitSettings(NamedTuple):
    """The parameters of a candidate that are not the network's own, by the names that it uses."""

    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    threads: int = 1
    random_state: int = 0


class FittedNetwork(NamedTuple):
    """The weights after the last epoch, and after some of the epochs."""

    weights: Weights
    stages: dict[int, Weights]


@dataclass(frozen=True)
class NetworkFit:
    """What a network is fitted on.

    Parameters
    ----------
    build
        Makes the network, with random weights.
    identity
        What decides the weights beside the rows: the network's class, its parameters and its package's version.
    target
        0 or 1, the number of the class, or the value.
    """

    build: Callable[[], torch.nn.Module]
    identity: str
    rows: NDArray[np.float32]
    target: NDArray[Any]
    weights: NDArray[np.float32]
    loss: Loss
    settings: FitSettings

    def run(self) -> FittedNetwork:
        """Fit all epochs, or those that an interrupted fit of the same rows has not done (AdamW, in 32 bits)."""
        import torch

        settings, known = self.settings, keeper().known
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with _deterministic(settings.threads):
            torch.manual_seed(settings.random_state)
            network = self.build().float().to(device)
            optimizer = torch.optim.AdamW(
                network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
            )
            name, done = self._digest(), 0
            wanted = {int(n) for n in np.linspace(0, settings.epochs, STAGES + 1)} - {0}
            stages = {n: _arrays(_read(known[f"{name}-{n}"])) for n in wanted if f"{name}-{n}" in known}
            state = _read(known[name]) if name in known else {"epochs": 0}
            if name in known and all(n in stages for n in wanted if n <= state["epochs"]):
                network.load_state_dict(state["network"])
                optimizer.load_state_dict(state["optimizer"])
                done = int(state["epochs"])
            data = [torch.from_numpy(part).to(device) for part in (self.rows, self.target, self.weights)]
            for epoch in range(done + 1, settings.epochs + 1):
                torch.manual_seed(settings.random_state + epoch)
                self._epoch(network, optimizer, data)
                state = {name: value.cpu() for name, value in network.state_dict().items()}
                if epoch in wanted:
                    stages[epoch] = _arrays(state)
                    keeper().keep(KeptEpoch(f"{name}-{epoch}", _written(state)))
                kept = {"network": state, "optimizer": optimizer.state_dict(), "epochs": epoch}
                keeper().keep(KeptEpoch(name, _written(kept)))
            return FittedNetwork(_arrays(network.state_dict()), dict(sorted(stages.items())))

    def _epoch(self, network: torch.nn.Module, optimizer: torch.optim.Optimizer, data: list[Any]) -> None:
        import torch

        rows, target, weights = data
        network.train()
        for batch in torch.randperm(len(rows)).split(self.settings.batch_size):
            if len(batch) == 1 < len(rows):
                continue  # layers that normalize a batch need two rows; the row comes in another epoch
            optimizer.zero_grad()
            losses = self._losses(network(rows[batch]), target[batch])
            (losses * weights[batch]).mean().backward()
            optimizer.step()

    def _losses(self, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        if self.loss == "multiclass":
            return functional.cross_entropy(outputs, target, reduction="none")
        if self.loss == "binary":
            return functional.binary_cross_entropy_with_logits(
                outputs.squeeze(1), target.float(), reduction="none"
            )
        return functional.mse_loss(outputs.squeeze(1), target.float(), reduction="none")

    def _digest(self) -> str:
        import torch

        digest = hashlib.sha256(f"{self.identity} {self.settings} torch {torch.__version__}".encode())
        for part in (self.rows, self.target, self.weights):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:32]


@contextmanager
def _deterministic(threads: int) -> Iterator[None]:
    """Compute the same on each run, and leave the process as it was."""
    import torch

    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(before)


def _written(state: dict[str, Any]) -> bytes:
    import torch

    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def _read(content: bytes) -> dict[str, Any]:
    import torch

    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def _arrays(state: dict[str, Any]) -> Weights:
    """Copy weights, which the next epoch changes in place."""
    return {name: value.detach().cpu().numpy().copy() for name, value in state.items()}
