"""The `r3` family: norm-free residual networks for the relativistic loss with R1 and R2.

After R3GAN (Huang et al. 2024, arXiv 2501.05441), made small enough for a CPU. The generator
splits its latent into content, constant over the clip, and motion, a smooth path over
continuous time that moves a few sprites; the discriminator sees all frames at once, stacked as channels.

Shapes: B clips, T frames, N = B * T images, Z latent, D features, P path, K polynomials, L classes,
S sprites, C channels, H height, W width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ConfigError
from .blocks import Film, Residual, activate, conv, costly, legendre, linear, pixel_norm, spread_over_subpixels_
from .course import Courses
from .interface import Discriminator, Generator
from .network import ClipShape, R3Discriminator, R3Generator
from .spatial import SpatialDiscriminator, evenly_spread
from .sprites import Sprites

FRAME_GAIN = 0.03  # of what each frame draws for itself at first: a clip starts as sprites over a still picture
FRAME_PACE = 0.02  # and learns to draw so much more slowly, or it draws what sprites have not yet learnt to;
FRAME_COST = 1.0  # for the same reason each frame pays for what it draws
DARK = -1.0  # the still picture at first, before tanh
WHOLE_GAIN = 0.3  # of what each frame draws at first where there are no sprites: as much as of the still picture


class R3GeneratorNetwork(Generator):
    """A content code says what is there, a motion path where it is at each moment.

    A frame is a picture with sprites over it. The picture is a still one, drawn once a clip, plus what each frame
    draws for itself (what deforms, turns or changes its light); the sprites are drawn once a clip and moved. Without
    sprites all that moves is drawn by each frame, at no price and at a full pace.
    """

    def __init__(self, network: R3Generator, shape: ClipShape) -> None:
        super().__init__(network.content + network.motion, shape)
        self.network = network
        base, doublings = network.base(shape), network.doublings(shape)
        labels, hidden = shape.labels, network.hidden
        over_picture = network.sprites > 0
        self.content1 = linear(network.content + labels, hidden)
        self.content2 = linear(hidden, hidden)
        self.motion1 = linear(network.motion + labels, hidden)
        self.motion2 = linear(hidden, network.path * network.degree, gain=1.0)
        enlarged = len(network.still) - 1
        self.still = Still(network.still, hidden, base)
        self.still_head = Head(
            network.still[-1], 2 ** (doublings - enlarged), gain=0.3, bias=DARK if over_picture else 0.0
        )
        self.sprites = self.courses = None
        if over_picture:
            canvas = (base[0] * 2**enlarged, base[1] * 2**enlarged)
            self.sprites = Sprites(
                network.sprites,
                latent=network.content + labels,
                code=hidden,
                features=network.still[-1],
                canvas=canvas,
                size=network.sprite_size,
            )
            self.courses = Courses(network.sprites, network.path, network.degree, labels)
        self.frames = Frames(network.widths, hidden, network.path, base)
        gain, pace = (FRAME_GAIN, FRAME_PACE) if over_picture else (WHOLE_GAIN, 1.0)
        self.frame_head = Head(network.widths[-1], 2 ** (doublings - len(network.widths) + 1), gain=gain, pace=pace)

    def forward(self, z_BZ: Tensor, label_B: Tensor | None = None, times_T: Tensor | None = None) -> Tensor:
        """Latent, class and times (in frames, default 0 to `frames` - 1) -> video [B, 3, T, H, W] in [-1, 1]."""
        if times_T is None:
            times_T = torch.arange(self.shape.frames, device=z_BZ.device)
        one_hot_BL = self.one_hot(label_B, z_BZ)
        content_BD, moves_BPK, basis_TK = self.codes(z_BZ, one_hot_BL, times_T)
        path_BTP = torch.einsum("bpk,tk->btp", moves_BPK, basis_TK)
        features_BCHW = self.still(content_BD)
        still_B3HW = self.still_head(features_BCHW)
        frames_N3HW = self.frame_head(self.frames(content_BD, path_BTP))
        if self.sprites is not None:
            frames_N3HW = costly(frames_N3HW, FRAME_COST)
        frames_BT3HW = frames_N3HW.reshape(*path_BTP.shape[:2], *frames_N3HW.shape[1:])
        picture_BT3HW = torch.tanh(still_B3HW[:, None] + frames_BT3HW)
        if self.sprites is None or self.courses is None:
            return picture_BT3HW.transpose(1, 2)
        latent_BZ = torch.cat([z_BZ[:, : self.network.content], one_hot_BL], 1)
        place_BTS2 = self.courses(moves_BPK, basis_TK, one_hot_BL)
        return self.sprites(picture_BT3HW, features_BCHW, latent_BZ, content_BD, place_BTS2).transpose(1, 2)

    def codes(self, z_BZ: Tensor, one_hot_BL: Tensor, times_T: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Content [B, D], the motion path's weights of each polynomial [B, P, K], and the polynomials [T, K]."""
        z_content_BZ, z_motion_BZ = z_BZ[:, : self.network.content], z_BZ[:, self.network.content :]
        content_BD = activate(self.content1(torch.cat([z_content_BZ, one_hot_BL], 1)))
        content_BD = activate(self.content2(content_BD))
        motion_BD = activate(self.motion1(torch.cat([z_motion_BZ, one_hot_BL], 1)))
        weights_BPK = self.motion2(motion_BD).unflatten(1, (self.network.path, self.network.degree))
        basis_TK = legendre(times_T.to(z_BZ.dtype), self.shape.frames, self.network.degree)
        # Wilder polynomials start smaller: a path that jumps about teaches nothing about where things should be.
        basis_TK = basis_TK / torch.arange(1, self.network.degree + 1, device=basis_TK.device)
        return content_BD, weights_BPK.to(basis_TK.dtype), basis_TK


class Still(nn.Module):
    """Content to feature maps, once a clip."""

    def __init__(self, widths: tuple[int, ...], code: int, base: tuple[int, int]) -> None:
        super().__init__()
        self.size = (widths[0], *base)
        self.first = linear(code, widths[0] * base[0] * base[1])
        self.stages = nn.ModuleList(Stage(before, after) for before, after in pairwise(widths))

    def forward(self, code_BD: Tensor) -> Tensor:
        """[B, D] -> [B, C, H, W], activated."""
        x_BCHW = self.first(code_BD).unflatten(1, self.size).contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            x_BCHW = stage(x_BCHW)
        return activate(pixel_norm(x_BCHW))  # or outlines bend faster than places are learnt


class Frames(nn.Module):
    """Content and path to feature maps, once a frame."""

    def __init__(self, widths: tuple[int, ...], code: int, path: int, base: tuple[int, int]) -> None:
        super().__init__()
        self.size = (widths[0], *base)
        places = widths[0] * base[0] * base[1]
        self.content = linear(code, places)
        self.motion = linear(path, places)
        self.stages = nn.ModuleList(Stage(before, after) for before, after in pairwise(widths))
        self.films = nn.ModuleList(Film(code, after) for after in widths[1:])

    def forward(self, code_BD: Tensor, path_BTP: Tensor) -> Tensor:
        """[B, D] and [B, T, P] -> [B T, C, H, W], activated."""
        x_BTD = self.content(code_BD)[:, None] + self.motion(path_BTP)
        x_NCHW = x_BTD.flatten(0, 1).unflatten(1, self.size).contiguous(memory_format=torch.channels_last)
        code_ND = code_BD.repeat_interleave(path_BTP.shape[1], 0)
        for stage, film in zip(self.stages, self.films, strict=True):
            x_NCHW = film(stage(x_NCHW), code_ND)
        return activate(pixel_norm(x_NCHW))  # or features that grow would get around the pace of the head


class Stage(nn.Module):
    """Twice the resolution: enlarge, mix, pixel norm, residual block."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.mix = conv(before, after, gain=1.0)
        self.block = Residual(after)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', 2 H, 2 W]."""
        return self.block(pixel_norm(self.mix(functional.interpolate(x_NCHW, scale_factor=2.0, mode="nearest"))))


class Head(nn.Module):
    """Feature maps to colours before tanh, the rest of the enlargement by pixel shuffle."""

    def __init__(self, width: int, enlarge: int, gain: float, bias: float = 0.0, pace: float = 1.0) -> None:
        super().__init__()
        self.enlarge, self.pace = enlarge, pace
        self.conv = conv(width, 3 * enlarge**2, gain=gain / pace)
        spread_over_subpixels_(self.conv, enlarge**2)
        assert self.conv.bias is not None
        nn.init.constant_(self.conv.bias, bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, 3, H', W'], float32."""
        return functional.pixel_shuffle(self.pace * self.conv(x_NCHW).float(), self.enlarge)


class R3DiscriminatorNetwork(Discriminator):
    """All frames stacked as channels, so that plain 2D convolutions see the motion, and a few of them one by one."""

    def __init__(self, network: R3Discriminator, shape: ClipShape) -> None:
        super().__init__(shape, network.looks)
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
        self.spatial = (
            SpatialDiscriminator(network.fold, network.look_width, network.look_features) if self.looks else None
        )

    def forward(self, video_BCTHW: Tensor, label_B: Tensor | None = None, moments_BF: Tensor | None = None) -> Tensor:
        """Video [B, 3, T, H, W], class [B] and frames to look at [B, F] -> logits [B], float32; high is real."""
        x_NCHW = functional.pixel_unshuffle(video_BCTHW.flatten(1, 2), self.network.fold)
        x_NCHW = self.stem(x_NCHW.contiguous(memory_format=torch.channels_last))
        for index, block in enumerate(self.blocks):
            if index:
                x_NCHW = functional.avg_pool2d(self.grow[index - 1](x_NCHW), 2)
            x_NCHW = block(x_NCHW)
        with torch.autocast(x_NCHW.device.type, enabled=False):
            logits_B = self.judge(activate(x_NCHW.float()).flatten(1), label_B)
        if self.spatial is None:
            return logits_B
        if moments_BF is None:
            moments_BF = evenly_spread(len(video_BCTHW), self.shape.frames, self.looks).to(video_BCTHW.device)
        return logits_B + self.spatial(video_BCTHW, moments_BF)

    def judge(self, x_BD: Tensor, label_B: Tensor | None) -> Tensor:
        """Features [B, D] -> logits [B], by class (projection: Miyato and Koyama 2018, eq. 3)."""
        features_BD = activate(self.summary(x_BD))
        logits_B = self.score(features_BD)[:, 0]
        if self.classes is None or label_B is None:
            return logits_B
        return logits_B + (self.classes(label_B) * features_BD).sum(1) / features_BD.shape[1] ** 0.5
