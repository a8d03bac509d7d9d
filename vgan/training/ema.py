"""The averaged generator: what is sampled from, evaluated and registered."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * model, in place, for every parameter and buffer.

    All parameters in one call: one by one, small networks would wait for Python. Whole numbers are taken over.
    """
    pairs = zip(_tensors(average), _tensors(model), strict=True)
    means: list[Tensor] = []
    sources: list[Tensor] = []
    for target, source in pairs:
        if target.is_floating_point():
            means.append(target)
            sources.append(source)
        else:
            target.copy_(source)
    get_ema_multi_avg_fn(decay)(means, sources, 0)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
