"""Networks of one's own, as a spec names them; needs PyTorch."""

from __future__ import annotations

import torch
from torch import nn


class Mlp(nn.Module):
    """Two layers, with what behaves differently while a network is fitted."""

    def __init__(self, inputs: int, outputs: int, hidden: int = 16, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, outputs),
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        answers: torch.Tensor = self.layers(rows)
        return answers


class Narrow(Mlp):
    """Has an operator that ONNX Runtime computes in 32 bits only."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(nn.functional.gelu(rows))


class Strange(Mlp):
    """Does what no graph can."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(torch.from_numpy(rows.numpy() + 0.0) if not self.training else rows)


class Failing(Mlp):
    """Gives another number of answers than it was asked for."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return super().forward(rows)[:, :0]
