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


def generator_slopes(real_B: Tensor, fake_B: Tensor) -> Tensor:
    """d generator_loss / d fake: -sigmoid(D(x) - D(G(z))) / B, by the derivative of softplus: [B]."""
    return -torch.sigmoid(real_B - fake_B) / len(fake_B)


def gradient_of(logits_B: Tensor, video_BCTHW: Tensor, *, differentiable: bool) -> Tensor:
    """grad_x D(x) of each clip, [B, C, T, H, W]: a logit depends on its own clip alone, so one backward gives all.

    Args:
        logits_B: of these clips.
        video_BCTHW: clips that require a gradient.
        differentiable: whether the result will itself be differentiated, which keeps the graph of the backward too.
    """
    (gradient_BCTHW,) = torch.autograd.grad(logits_B.sum(), video_BCTHW, create_graph=differentiable, retain_graph=True)
    return gradient_BCTHW


def squared_norms(gradient_BCTHW: Tensor) -> Tensor:
    """||grad_x D(x)||^2 of each clip, averaged over its frames: [B].

    On real clips the batch mean is R1, on generated ones R2 (R3GAN, eq. 3 and 4); exact, so the
    loss that uses it differentiates twice through D.
    """
    return gradient_BCTHW.square().sum((1, 2, 3, 4)) / gradient_BCTHW.shape[2]


def gradient_norms(logits_B: Tensor, video_BCTHW: Tensor) -> Tensor:
    """`squared_norms` of the differentiable gradient of these logits: [B]."""
    return squared_norms(gradient_of(logits_B, video_BCTHW, differentiable=True))


def nearby_norms(logits_B: Tensor, nearby_B: Tensor, sigma: float, frames: int) -> Tensor:
    """(D(x) - D(x + sigma e))^2 / sigma^2 of each clip, e standard normal, averaged over its frames: [B].

    Seaweed-APT's approximated R1 (arXiv 2501.08316, eq. 3): its mean over e is ||grad_x D(x)||^2 up to
    sigma^2 (first order: E (g e)^2 = ||g||^2), and it needs no second derivative. One e a clip is a noisy
    estimate, of relative variance 2.
    """
    return ((logits_B - nearby_B) / sigma).square() / frames
