"""The relativistic pairing loss and its two gradient penalties (R3GAN, arXiv 2501.05441).

Shapes: B clips, C channels, T frames, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def discriminator_loss(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """Mean of softplus(-(D(x) - D(G(z)))) over pairs of the same class (R3GAN, eq. 2 with f(t) = -softplus(-t))."""
    return functional.softplus(-(real_B - fake_B)).mean()


def generator_loss(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """The same with real and fake exchanged: softplus(-(D(G(z)) - D(x))) (R3GAN, eq. 2, non-saturating)."""
    return functional.softplus(-(fake_B - real_B)).mean()


def gradient_norms(logits_B: Tensor, video_BCTHW: Tensor) -> Tensor:
    """||grad_x D(x)||^2 of each clip, averaged over its frames: [B].

    On real clips the batch mean is R1, on generated ones R2 (R3GAN, eq. 3 and 4); exact, so the
    loss that uses it differentiates twice through D.
    """
    (gradient_BCTHW,) = torch.autograd.grad(logits_B.sum(), video_BCTHW, create_graph=True)
    return gradient_BCTHW.square().sum((1, 2, 3, 4)) / video_BCTHW.shape[2]
