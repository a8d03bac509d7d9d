"""The averaged generator: what is sampled from, evaluated and registered."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * model, in place, for every parameter and buffer."""
    source = model.state_dict()
    for name, target in average.state_dict().items():
        target.lerp_(source[name], 1 - decay)
