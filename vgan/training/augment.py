"""Adaptive augmentation of what the discriminator sees (ADA, arXiv 2006.06676), the same for all frames of a clip.

Real and generated clips are shifted and partly covered, with the same probability and in the
steps of both networks: so the discriminator cannot learn the training clips by heart, and the
generator has nothing to gain from drawing shifted or covered clips itself.

ADA raises the probability when the discriminator is sure that real clips are real, seen by the
sign of its logits. The zero of relativistic logits means nothing, so here it is the sign of
D(real) - D(generated) of a pair, averaged: 1 when all pairs are told apart, 0 when it guesses.

Shapes: B clips, C channels, T frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

SHIFT = 1 / 8  # of height and width, at most, each way
COVER = 1 / 2  # of height and of width: the side of the covered box
TARGET = 0.6  # mean sign of pairs at which the probability stays (ADA, section 3.1)
RISE = 0.5  # share of the budget in which the probability can go from 0 to 1,
RISE_CLIPS = 500_000  # and clips (ADA's), at the least: in minutes nothing is learnt by heart, and covering costs
CEILING = 0.8  # above it the generator learns to draw what the augmentation does (ADA, figure 4)
WINDOW_CLIPS = 2000.0  # half-life of the mean sign
WINDOW_SHARE = 0.02  # of the budget, at most


@dataclass(frozen=True)
class Draws:
    """What would happen to each clip, drawn from [0, 1): a row for each random number, a column for each clip."""

    uniform_6B: Tensor

    @classmethod
    def of(cls, num: int, random: torch.Generator) -> Draws:
        """Draw for `num` clips, on the CPU so that it is the same for every device."""
        return cls(torch.rand(6, num, generator=random))

    def clips(self, start: int, end: int) -> Draws:
        """Those of some of the clips: a process's share of the batch."""
        return Draws(self.uniform_6B[:, start:end])


@dataclass
class Augmentation:
    """The state of the adaptive probability: two numbers on the device of the networks."""

    probability: Tensor  # [], of each of shifting and covering
    sign: Tensor  # [], mean of sign(D(real) - D(generated)) lately

    @classmethod
    def start(cls, device: torch.device) -> Augmentation:
        """Before the first step: nothing is augmented."""
        return cls(torch.zeros((), device=device), torch.zeros((), device=device))

    def adapt(self, told_apart: Tensor | float, batch: int, budget: int) -> None:
        """Change the probability in place, without waiting for the device.

        Args:
            told_apart: [], share of this step's pairs with D(real) > D(generated).
            batch: real clips of the step.
            budget: clips of the whole run.
        """
        half_life = min(WINDOW_CLIPS, WINDOW_SHARE * budget)
        sign = torch.as_tensor(2 * told_apart - 1, dtype=torch.float32, device=self.sign.device)
        self.sign.lerp_(sign, 1 - 0.5 ** (batch / half_life))
        change = batch / max(RISE * budget, RISE_CLIPS)
        self.probability.add_((self.sign - TARGET).sign(), alpha=change).clamp_(0, CEILING)


def augment(video_BCTHW: Tensor, probability: Tensor | float, draws: Draws) -> Tensor:
    """Shift and cover clips, all frames of a clip alike; what is shifted in or covered is grey (0).

    Differentiable, any number of times. A clip that is neither shifted nor covered keeps its bits.

    Args:
        video_BCTHW: clips in [-1, 1].
        probability: of each of the two, independently.
        draws: of these clips.
    """
    height, width = video_BCTHW.shape[3:]
    device = video_BCTHW.device
    use_shift, down, right, use_cover, centre_y, centre_x = draws.uniform_6B.to(device, non_blocking=True)
    shifted_B, covered_B = use_shift < probability, use_cover < probability
    down_B, right_B = (
        (((2 * SHIFT * share - SHIFT) * size).round() * shifted_B).long()
        for share, size in ((down, height), (right, width))
    )
    video_BCTHW = _shift(video_BCTHW, down_B, right_B)
    rows_BH = _inside(centre_y, height) & covered_B[:, None]
    columns_BW = _inside(centre_x, width)
    shown_BHW = ~(rows_BH[:, :, None] & columns_BW[:, None, :])
    return video_BCTHW * shown_BHW[:, None, None].to(video_BCTHW.dtype)


def _inside(centre_B: Tensor, size: int) -> Tensor:
    """[B, size]: which places lie in a box of COVER of the size around the centre, a share of the size."""
    place_S = (torch.arange(size, device=centre_B.device) + 0.5) / size
    return (place_S[None] - centre_B[:, None]).abs() < COVER / 2


class _Shift(torch.autograd.Function):
    """Shift [B, C, T, H, W] by whole pixels and fill with 0.

    The transpose of a shift is the shift back. Autograd's own, of a gather, would add up by
    atomic operations, in another order each time on a GPU.
    """

    @staticmethod
    def forward(video_BCTHW: Tensor, down_B: Tensor, right_B: Tensor) -> Tensor:
        batch, channels, frames, height, width = video_BCTHW.shape
        y_BH, x_BW = (
            torch.arange(size, device=video_BCTHW.device)[None] - by_B[:, None]
            for by_B, size in ((down_B, height), (right_B, width))
        )
        index_BHW = y_BH.clamp(0, height - 1)[:, :, None] * width + x_BW.clamp(0, width - 1)[:, None, :]
        there_BHW = ((y_BH >= 0) & (y_BH < height))[:, :, None] & ((x_BW >= 0) & (x_BW < width))[:, None, :]
        planes = channels * frames
        flat_BPS = video_BCTHW.reshape(batch, planes, height * width)
        moved_BPS = flat_BPS.gather(2, index_BHW.reshape(batch, 1, -1).expand(-1, planes, -1))
        moved_BPS = moved_BPS * there_BHW.reshape(batch, 1, -1).to(moved_BPS.dtype)
        return moved_BPS.view(batch, channels, frames, height, width)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[1], inputs[2])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        down_B, right_B = ctx.saved_tensors
        return _shift(gradients[0], -down_B, -right_B), None, None


def _shift(video_BCTHW: Tensor, down_B: Tensor, right_B: Tensor) -> Tensor:
    apply = cast(Callable[..., Tensor], _Shift.apply)  # pyright: ignore[reportUnknownMemberType]
    return apply(video_BCTHW, down_B, right_B)
