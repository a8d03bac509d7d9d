"""The `r3` family: norm-free residual networks for the relativistic loss with R1 and R2.

After R3GAN (Huang et al. 2024, arXiv 2501.05441), made small enough for a CPU. The generator
splits its latent into content, constant over the clip, and motion, a smooth path over
continuous time that moves a few points; the discriminator sees all frames at once, stacked as channels.

Shapes: B clips, T frames, N = B * T images, Z latent, D features, P path, K polynomials
(in weights and basis) or points (in places and sizes), L classes, C channels, H height, W width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ConfigError
from .blocks import Film, Residual, activate, conv, legendre, linear, pixel_norm, spread_over_subpixels_
from .interface import Discriminator, Generator
from .network import ClipShape, R3Discriminator, R3Generator
from .points import MovingPoints, Splat


class R3GeneratorNetwork(Generator):
    """A content code says what is there, a motion path where it is at each moment."""

    def __init__(self, network: R3Generator, shape: ClipShape) -> None:
        super().__init__(network.content + network.motion, shape)
        self.network = network
        self.base = network.base(shape)
        labels, hidden, widths = shape.labels, network.hidden, network.widths
        self.content1 = linear(network.content + labels, hidden)
        self.content2 = linear(hidden, hidden)
        self.motion1 = linear(network.motion + labels, hidden)
        self.motion2 = linear(hidden, network.path * network.degree, gain=1.0)
        places = self.base[0] * self.base[1]
        self.base_content = linear(hidden, widths[0] * places)
        self.base_motion = linear(network.path, widths[0] * places)
        self.points = MovingPoints(network.path, hidden, network.points, network.point_size)
        self.stages = nn.ModuleList(
            Stage(before, after, hidden, network.points if index < network.point_stages else 0)
            for index, (before, after) in enumerate(pairwise(widths))
        )
        self.head = conv(widths[-1], network.head_width * network.head**2)
        spread_over_subpixels_(self.head, network.head**2)
        self.rgb = conv(network.head_width, 3, gain=1.0)
        assert self.rgb.bias is not None
        nn.init.constant_(self.rgb.bias, -1.0)

    def forward(self, z_BZ: Tensor, label_B: Tensor | None = None, times_T: Tensor | None = None) -> Tensor:
        """Latent, class and times (in frames, default 0 to `frames` - 1) -> video [B, 3, T, H, W] in [-1, 1]."""
        if times_T is None:
            times_T = torch.arange(self.shape.frames, device=z_BZ.device)
        batch, frames = z_BZ.shape[0], times_T.shape[0]
        content_BD, path_BTP = self.codes(z_BZ, self.one_hot(label_B, z_BZ), times_T)
        x_BTD = self.base_content(content_BD)[:, None] + self.base_motion(path_BTP)
        x_NCHW = x_BTD.reshape(batch * frames, self.network.widths[0], *self.base)
        x_NCHW = x_NCHW.contiguous(memory_format=torch.channels_last)
        content_ND = content_BD.repeat_interleave(frames, 0)
        place_NK2, size_NK = self.points(path_BTP.flatten(0, 1), content_ND)
        for stage in self.stages:
            x_NCHW = stage(x_NCHW, content_ND, place_NK2, size_NK)
        x_NCHW = functional.pixel_shuffle(self.head(activate(x_NCHW)), self.network.head)
        rgb_NCHW = torch.tanh(self.rgb(activate(x_NCHW)).float())
        return rgb_NCHW.reshape(batch, frames, 3, self.shape.height, self.shape.width).transpose(1, 2)

    def codes(self, z_BZ: Tensor, one_hot_BL: Tensor, times_T: Tensor) -> tuple[Tensor, Tensor]:
        """Content [B, D] and motion path [B, T, P] of a latent."""
        z_content_BZ, z_motion_BZ = z_BZ[:, : self.network.content], z_BZ[:, self.network.content :]
        content_BD = activate(self.content1(torch.cat([z_content_BZ, one_hot_BL], 1)))
        content_BD = activate(self.content2(content_BD))
        motion_BD = activate(self.motion1(torch.cat([z_motion_BZ, one_hot_BL], 1)))
        weights_BPK = self.motion2(motion_BD).unflatten(1, (self.network.path, self.network.degree))
        basis_TK = legendre(times_T.to(z_BZ.dtype), self.shape.frames, self.network.degree)
        return content_BD, torch.einsum("bpk,tk->btp", weights_BPK.to(basis_TK.dtype), basis_TK)


class Stage(nn.Module):
    """Twice the resolution: enlarge, mix, draw the points, pixel norm, residual block, then FiLM by the content."""

    def __init__(self, before: int, after: int, code: int, points: int) -> None:
        super().__init__()
        self.mix = conv(before, after, gain=1.0)
        self.splat = Splat(code, points, after) if points else None
        self.block = Residual(after)
        self.film = Film(code, after)

    def forward(self, x_NCHW: Tensor, code_ND: Tensor, place_NK2: Tensor, size_NK: Tensor) -> Tensor:
        """[N, C, H, W], content [N, D] and points -> [N, C', 2 H, 2 W]."""
        x_NCHW = self.mix(functional.interpolate(x_NCHW, scale_factor=2.0, mode="nearest"))
        if self.splat is not None:
            x_NCHW = self.splat(x_NCHW, place_NK2, size_NK, code_ND)
        return self.film(self.block(pixel_norm(x_NCHW)), code_ND)


class R3DiscriminatorNetwork(Discriminator):
    """All frames stacked as channels, so that plain 2D convolutions see the motion."""

    def __init__(self, network: R3Discriminator, shape: ClipShape) -> None:
        super().__init__(shape)
        self.network = network
        widths = network.widths
        self.stem = conv(3 * shape.frames * network.fold**2, widths[0], gain=1.0)
        self.blocks = nn.ModuleList(Residual(width) for width in widths)
        self.grow = nn.ModuleList(conv(before, after, 1, gain=1.0) for before, after in pairwise(widths))
        scale = network.fold * 2 ** (len(widths) - 1)
        if shape.height % scale or shape.width % scale:
            raise ConfigError(f"a clip of {shape.height} x {shape.width} does not divide by {scale}.")
        self.summary = linear(widths[-1] * (shape.height // scale) * (shape.width // scale), network.features)
        self.score = linear(network.features, 1, gain=1.0)
        self.classes = nn.Embedding(shape.labels, network.features) if shape.labels else None

    def forward(self, video_BCTHW: Tensor, label_B: Tensor | None = None) -> Tensor:
        """Video [B, 3, T, H, W] and class [B] -> logits [B], float32; the higher, the more real."""
        x_NCHW = functional.pixel_unshuffle(video_BCTHW.flatten(1, 2), self.network.fold)
        x_NCHW = self.stem(x_NCHW.contiguous(memory_format=torch.channels_last))
        for index, block in enumerate(self.blocks):
            if index:
                x_NCHW = functional.avg_pool2d(self.grow[index - 1](x_NCHW), 2)
            x_NCHW = block(x_NCHW)
        with torch.autocast(x_NCHW.device.type, enabled=False):
            return self.judge(activate(x_NCHW.float()).flatten(1), label_B)

    def judge(self, x_BD: Tensor, label_B: Tensor | None) -> Tensor:
        """Features [B, D] -> logits [B], by class (projection: Miyato and Koyama 2018, eq. 3)."""
        features_BD = activate(self.summary(x_BD))
        logits_B = self.score(features_BD)[:, 0]
        if self.classes is None or label_B is None:
            return logits_B
        return logits_B + (self.classes(label_B) * features_BD).sum(1) / features_BD.shape[1] ** 0.5
