"""A closer look at a few frames of a clip, one by one, by weights that all frames and places share.

Frames stacked as channels show the motion, but each has weights of its own: whether a thing has corners would have to
be learnt again for every frame, and after many thousand clips is hardly told. A few frames of each clip, others at
every step, teach it: the spatial discriminator of DVD-GAN (Clark et al. 2019, arXiv 1907.06571, section 3.2), which
sees all of them in the long run at a small part of the cost.

Shapes: B clips, F frames looked at, N = B * F images, C channels, T frames, H height, W width, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import Residual, activate, conv, linear

# What is judged covers few places, and its part in their mean is small: the sum over places, over this share of the
# root of their number, is neither.
ROOT = 0.5


class SpatialDiscriminator(nn.Module):
    """From frames to a part of the clip's logit.

    Args:
        fold: pixels of each side that are folded into channels before the first layer.
        width: channels.
        features: D.
    """

    def __init__(self, fold: int, width: int, features: int) -> None:
        super().__init__()
        self.fold = fold
        self.stem = conv(3 * fold**2, width, gain=1.0)
        self.block = Residual(width)
        self.widen = conv(width, features, 1)
        self.summary = linear(features, features)
        self.score = linear(features, 1, gain=0.1)

    def forward(self, video_BCTHW: Tensor, moments_BF: Tensor) -> Tensor:
        """Mean logit of the frames, [B], float32.

        Args:
            video_BCTHW: clips.
            moments_BF: which frames of each, from 0 to T - 1.
        """
        looked_BFT = functional.one_hot(moments_BF, video_BCTHW.shape[2]).to(video_BCTHW.dtype)
        # A product instead of an index: its gradient is a product again, the same at each run on every device.
        image_NCHW = torch.einsum("bcthw,bft->bfchw", video_BCTHW, looked_BFT).flatten(0, 1)
        x_NCHW = functional.pixel_unshuffle(image_NCHW, self.fold).contiguous(memory_format=torch.channels_last)
        x_NCHW = activate(self.widen(activate(self.block(self.stem(x_NCHW)))))
        with torch.autocast(x_NCHW.device.type, enabled=False):
            places = x_NCHW.shape[2] * x_NCHW.shape[3]
            x_ND = x_NCHW.float().sum((2, 3)) / (ROOT * places**0.5)
            return self.score(activate(self.summary(x_ND))).reshape(moments_BF.shape).mean(1)


def drawn(clips: int, frames: int, looks: int, random: torch.Generator | None = None) -> Tensor:
    """[B, F] frames of each clip, none of them twice; from torch's own random numbers unless others are given."""
    return torch.rand(clips, frames, generator=random).argsort(1)[:, :looks]


def evenly_spread(clips: int, frames: int, looks: int) -> Tensor:
    """[B, F] the middles of F equal parts of each clip."""
    middles_F = ((torch.arange(looks) + 0.5) * frames / looks).long()
    return middles_F.expand(clips, -1)
