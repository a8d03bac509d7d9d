"""Moving points: a few places per frame at which content is drawn.

Convolutions driven by a code alone find it hard to put one thing in one place: for a long time they
draw the whole street along which it may lie. A point is in one place by construction.
(Keypoints as a bottleneck of motion: Jakab et al. 2018, arXiv 1806.07823, eq. 2.)

Shapes: N = B * T images, K points, P path, D content, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import linear

REACH = 1.2  # places run from -1 to 1 over the picture, so a point can leave it


class MovingPoints(nn.Module):
    """Where the points are, and how large.

    Args:
        path: P, numbers of the motion path.
        code: D, numbers of the content code.
        points: K.
        size: standard deviation of a footprint at the start of training, in half pictures.
    """

    def __init__(self, path: int, code: int, points: int, size: float) -> None:
        super().__init__()
        self.points, self.size = points, size
        self.place = linear(path, 2 * points, gain=1.0)
        self.spread = linear(code, points, gain=0.3)

    def forward(self, path_NP: Tensor, code_ND: Tensor) -> tuple[Tensor, Tensor]:
        """Places [N, K, 2] as (x, y) and sizes [N, K] of the points, float32."""
        with torch.autocast(path_NP.device.type, enabled=False):
            place_NK2 = REACH * torch.tanh(self.place(path_NP.float())).reshape(-1, self.points, 2)
            return place_NK2, self.size * torch.exp(self.spread(code_ND.float()))


class Splat(nn.Module):
    """Adds, around each point, a vector that the content decides."""

    def __init__(self, code: int, points: int, width: int) -> None:
        super().__init__()
        self.points = points
        self.vectors = linear(code, points * width)

    def forward(self, x_NCHW: Tensor, place_NK2: Tensor, size_NK: Tensor, code_ND: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        along_NKW = _bump(place_NK2[..., 0], size_NK, x_NCHW.shape[3])
        down_NKH = _bump(place_NK2[..., 1], size_NK, x_NCHW.shape[2])
        vectors_NKC = self.vectors(code_ND).reshape(len(code_ND), self.points, -1)
        footprint_NKHW = (down_NKH[..., :, None] * along_NKW[..., None, :]).to(vectors_NKC.dtype)
        drawn_NHWC = torch.einsum("nkhw,nkc->nhwc", footprint_NKHW, vectors_NKC)
        return x_NCHW + drawn_NHWC.permute(0, 3, 1, 2)


def _bump(place_NK: Tensor, size_NK: Tensor, length: int) -> Tensor:
    """exp(-(s - place)^2 / (2 size^2)) at the middles s of `length` equal parts of -1..1: [N, K, length]."""
    middle = (torch.arange(length, device=place_NK.device) + 0.5) * (2 / length) - 1
    return torch.exp(-(middle - place_NK[..., None]).square() / (2 * size_NK[..., None].square()))
