"""Two small networks that never change, whatever becomes of the families: for tests of what training does with them."""

import torch
from torch import Tensor, nn

from vgan.models.interface import Discriminator, Generator
from vgan.models.network import ClipShape
from vgan.models.spatial import evenly_spread

SHAPE = ClipShape(frames=4, height=16, width=16, labels=3)


class ToyGenerator(Generator):
    """A linear layer to 8 x 8, enlarged, and a convolution."""

    def __init__(self) -> None:
        super().__init__(5, SHAPE)
        self.base = nn.Linear(5 + SHAPE.labels, 6 * 64)
        self.rgb = nn.Conv2d(6, 3 * SHAPE.frames, 3, padding=1)

    def forward(self, z_BZ: Tensor, label_B: Tensor | None = None, times_T: Tensor | None = None) -> Tensor:
        x_BD = nn.functional.silu(self.base(torch.cat([z_BZ, self.one_hot(label_B, z_BZ)], 1)))
        x_BCHW = nn.functional.interpolate(x_BD.reshape(-1, 6, 8, 8), scale_factor=2.0)
        return torch.tanh(self.rgb(x_BCHW)).reshape(-1, SHAPE.frames, 3, 16, 16).transpose(1, 2)


class ToyDiscriminator(Discriminator):
    """A strided convolution, a linear layer by class, and the brightness of two frames.

    Smooth, so that all of its derivatives are.
    """

    def __init__(self) -> None:
        super().__init__(SHAPE, looks=2)
        self.stem = nn.Conv2d(3 * SHAPE.frames, 8, 4, stride=4)
        self.score = nn.Linear(8 * 16, 1 + SHAPE.labels)
        self.look = nn.Linear(3, 1)

    def forward(self, video_BCTHW: Tensor, label_B: Tensor | None = None, moments_BF: Tensor | None = None) -> Tensor:
        scores_BL = self.score(nn.functional.silu(self.stem(video_BCTHW.flatten(1, 2))).flatten(1))
        if moments_BF is None:
            moments_BF = evenly_spread(len(video_BCTHW), SHAPE.frames, self.looks)
        bright_BTC = video_BCTHW.mean((3, 4)).transpose(1, 2)
        looked_BFC = bright_BTC.gather(1, moments_BF[..., None].expand(-1, -1, 3))
        look_B = nn.functional.silu(self.look(looked_BFC)).mean((1, 2))
        return scores_BL[:, 0] + scores_BL[:, 1:].gather(1, label_B[:, None])[:, 0] + look_B


def toy_networks(dtype: torch.dtype = torch.float32) -> tuple[ToyGenerator, ToyDiscriminator]:
    """Both with the same weights each time; drawn in float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return ToyGenerator().to(dtype), ToyDiscriminator().to(dtype)


def toy_clips(step: int, num: int = 4) -> tuple[Tensor, Tensor]:
    """uint8 clips [B, 3, 4, 16, 16], each with a square that moves, and classes [B]."""
    video_BCTHW = torch.full((num, 3, SHAPE.frames, 16, 16), 40, dtype=torch.uint8)
    label_B = (torch.arange(num) + step) % SHAPE.labels
    for index in range(num):
        for frame in range(SHAPE.frames):
            left = (3 * index + frame * (1 + int(label_B[index])) + step) % 11
            video_BCTHW[index, index % 3, frame, 4:9, left : left + 5] = 230
    return video_BCTHW, label_B
