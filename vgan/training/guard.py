"""Nothing is learned from a loss or gradient that is not finite.

On a CPU the figures are at hand and the first bad one raises before the optimizer's step. On a
GPU reading them would make the host wait for the device at every step; so the check stays on the
device: from the first bad figure on a flag, which Adam's fused kernel reads as `found_inf`, leaves
weights and moments as they are, and the host reads the flag now and then.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import DivergedError

CHECK_EVERY = 16  # steps after which the host reads the flag; what is computed between is thrown away
NETWORKS = ("discriminator", "generator")


class Guard:
    """Remembers the first update whose loss or gradient was not finite.

    Args:
        device: of the networks.
        deferred: keep the check on the device; None does so on a GPU.
    """

    def __init__(self, device: torch.device, *, deferred: bool | None = None) -> None:
        self.deferred = device.type == "cuda" if deferred is None else deferred
        self.tripped = torch.zeros((), device=device)  # [], 1 from the first bad figure on
        self._first = torch.zeros(4, device=device)  # its network's number, step, loss, gradient norm

    def check(self, network: str, step: int, loss: Tensor, norm: Tensor) -> None:
        """Look at an update before it is made.

        Args:
            network: "discriminator" or "generator".
            step: counted from 0.
            loss: [].
            norm: [], length of the gradient.

        Raises:
            DivergedError: not finite, and the check is not deferred.
        """
        if not self.deferred:
            _raise_unless_finite(network, step, loss.item(), norm.item())
            return
        place = [torch.full_like(self.tripped, float(value)) for value in (NETWORKS.index(network), step)]
        found = torch.stack([*place, loss.detach().to(self.tripped), norm.to(self.tripped)])
        self._first = torch.where(self.tripped > 0, self._first, found)
        self.tripped.copy_(torch.maximum(self.tripped, (~found.isfinite().all()).to(self.tripped)))

    def read(self) -> None:
        """Wait for the device and raise DivergedError if it met a figure that was not finite."""
        if self.deferred and self.tripped.item():
            network, step, loss, norm = (value.item() for value in self._first)
            _raise_unless_finite(NETWORKS[int(network)], int(step), loss, norm)


def _raise_unless_finite(network: str, step: int, loss: float, norm: float) -> None:
    for name, value in (("loss", loss), ("gradient", norm)):
        if not math.isfinite(value):
            raise DivergedError(
                f"the {name} of the {network} is {value} at step {step + 1}.",
                hint="Train with another seed or a larger batch; the last checkpoint is kept.",
            )
