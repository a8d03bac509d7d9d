"""Networks of the call signature that the field's has, as TorchScript files."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path

import torch
from torch import Tensor


class Projection(torch.nn.Module):
    """400 fixed random numbers of a clip of 4 frames or more, where it is called as the field calls its network."""

    def __init__(self, side: int = 4) -> None:
        super().__init__()
        self.side = side
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(400, 3 * 4 * side * side, generator=generator) / side

    def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
        assert rescale and resize and return_features
        small = torch.nn.functional.adaptive_avg_pool3d(x / 127.5 - 1, (4, self.side, self.side))
        return small.flatten(1) @ self.weight.T


def script(module: torch.nn.Module, path: Path) -> str:
    """Write a module as TorchScript; returns the sha256 of the file."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(module), content)
    path.write_bytes(content.getvalue())
    return hashlib.sha256(content.getvalue()).hexdigest()
