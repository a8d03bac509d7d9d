"""Layers that the families share: norm-free residual blocks, pixel norm, FiLM, Legendre paths.

Shapes: N images, B clips, T frames, C channels, H height, W width, D features, K polynomials.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

LEAK = 0.2
ACT_GAIN = math.sqrt(2.0 / (1.0 + LEAK**2))  # keeps the variance through `activate` (He et al. 2015, eq. 10)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU with slope .2, the nonlinearity between layers."""
    return functional.leaky_relu(x, LEAK)


def soft_sign(x: Tensor) -> Tensor:
    """x / sqrt(1 + x^2): from -1 to 1 as tanh, but with a slope that is never lost."""
    return x * torch.rsqrt(1 + x.square())


def he_(layer: nn.Linear | nn.Conv2d, gain: float = ACT_GAIN) -> None:
    """Draw the weights N(0, gain^2 / fan-in), no bias (He et al. 2015, eq. 10)."""
    fan_in = layer.weight[0].numel()
    nn.init.normal_(layer.weight, std=gain / math.sqrt(fan_in))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def linear(inputs: int, outputs: int, gain: float = ACT_GAIN) -> nn.Linear:
    """A linear layer with He-normal weights."""
    layer = nn.Linear(inputs, outputs)
    he_(layer, gain)
    return layer


def conv(inputs: int, outputs: int, size: int = 3, gain: float = ACT_GAIN, *, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps height and width, with He-normal weights."""
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)
    he_(layer, gain)
    return layer


@torch.no_grad()
def spread_over_subpixels_(layer: nn.Conv2d, subpixels: int) -> None:
    """Give the channels of one pixel-shuffled pixel equal weights: no checkerboard at first (Aitken et al. 2017)."""
    layer.weight.copy_(layer.weight[::subpixels].repeat_interleave(subpixels, 0))


def pixel_norm(x_NCHW: Tensor) -> Tensor:
    """Scale each place's channels to mean square 1 (Karras et al. 2018, section 4.2)."""
    return x_NCHW * torch.rsqrt(x_NCHW.float().square().mean(1, keepdim=True) + 1e-8).to(x_NCHW.dtype)


class Residual(nn.Module):
    """x + conv(act(conv(act(x)))), without norms; the last convolution starts small (R3GAN, section 3.2)."""

    def __init__(self, width: int, gain: float = 0.1) -> None:
        super().__init__()
        self.conv1 = conv(width, width)
        self.conv2 = conv(width, width, gain=gain)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        return x_NCHW + self.conv2(activate(self.conv1(activate(x_NCHW))))


class Film(nn.Module):
    """x * (1 + scale) + shift, both read from a code (Perez et al. 2018); starts as the identity."""

    def __init__(self, code: int, width: int) -> None:
        super().__init__()
        self.affine = linear(code, 2 * width, gain=0.1)

    def forward(self, x_NCHW: Tensor, code_ND: Tensor) -> Tensor:
        """[N, C, H, W] and [N, D] -> [N, C, H, W]."""
        scale, shift = self.affine(code_ND)[:, :, None, None].chunk(2, 1)
        return x_NCHW * (1 + scale) + shift


def legendre(times_T: Tensor, frames: int, degree: int) -> Tensor:
    """Legendre polynomials of degree 0 to `degree` - 1 at these times (in frames): [T, K].

    Frame 0 to `frames` - 1 are mapped to -1..1. A longer clip walks its path to and fro: past an end it slows
    down, turns half a frame beyond and comes back two frames later, so that neither place nor velocity jumps.
    Out there, where no clip was trained, the path goes on straight instead of along its polynomials.
    """
    span = max(frames - 1, 1)
    inside_T, outside_T = _to_and_fro(times_T, span)
    x_T, beyond_T = inside_T * (2 / span) - 1, outside_T * (2 / span)
    columns = [torch.ones_like(x_T), x_T]
    for n in range(1, degree - 1):
        columns.append(((2 * n + 1) * x_T * columns[n] - n * columns[n - 1]) / (n + 1))  # Bonnet's recursion
    side_T = torch.sign(beyond_T)  # P_n'(1) = n (n + 1) / 2, and P_n'(-1) the same but for the sign of odd n + 1
    straight = [beyond_T * side_T ** (n + 1) * (n * (n + 1) / 2) for n in range(degree)]
    return torch.stack(columns[:degree], 1) + torch.stack(straight, 1)


def _to_and_fro(times_T: Tensor, span: int) -> tuple[Tensor, Tensor]:
    """Where between 0 and `span` each time is, and how far past an end (below 0: before the first), in frames.

    Times from 0 to `span` stay what they are. A turn is s - s^2 / 2 over s = 0..2: it leaves an end with velocity 1
    and comes back with velocity -1.
    """
    phase_T = torch.remainder(times_T, 2 * span + 4)
    inside_T = torch.minimum(phase_T, 2 * span + 2 - phase_T).clamp(0, span)
    late_T, early_T = ((phase_T - end).clamp(0, 2) for end in (span, 2 * span + 2))
    return inside_T, (late_T - late_T.square() / 2) - (early_T - early_T.square() / 2)


class _Costly(torch.autograd.Function):
    """The identity; backward adds the gradient of `weight` times the mean square."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] + (2 * ctx.weight / x.numel()) * x, None


def costly(x: Tensor, weight: float) -> Tensor:
    """`x` itself, whose mean square, times `weight`, counts as part of whatever loss is made of it.

    What a layer draws then has a price, without the loss having to know of the layer.
    """
    apply = cast(Callable[..., Tensor], _Costly.apply)  # pyright: ignore[reportUnknownMemberType]
    return apply(x, weight)
