"""Where sprites go: smooth courses, whose middle and spread each class learns for itself.

What a class does with certainty (all of `left` cross the picture to the left, at one speed) a network of class and
noise together learns slowly: it has to take back, place by place, what its noise adds. Its discriminator meanwhile
tells every clip by its course and teaches nothing else. So a course is what the noise asks for, times a factor, plus a
constant: one pair for each class, direction and polynomial (conditional scale and shift: Dumoulin et al. 2017,
arXiv 1610.07629), each the sum of what all clips share and what the class adds.

Shapes: B clips, T frames, S coordinates (x and y of each sprite in turn), P path, K polynomials, L classes, R = 1 + L.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import linear

PACE = 10.0  # a factor or constant moves ten times as far as a weight in a step of the optimizer
NARROWEST, WIDEST = -6.0, 2.0  # logarithms of a factor


class Courses(nn.Module):
    """From the noise's motion and the class to places.

    Args:
        sprites: how many are moved.
        path: P, numbers of the motion path.
        degree: K.
        labels: L, 0 where there are no classes.
    """

    def __init__(self, sprites: int, path: int, degree: int, labels: int) -> None:
        super().__init__()
        self.sprites = sprites
        self.place = linear(path, 2 * sprites, gain=0.5)
        self.middle_RSK = nn.Parameter(torch.zeros(1 + labels, 2 * sprites, degree))
        self.spread_RSK = nn.Parameter(torch.zeros(1 + labels, 2 * sprites, degree))

    def forward(self, moves_BPK: Tensor, basis_TK: Tensor, one_hot_BL: Tensor) -> Tensor:
        """Places [B, T, sprites, 2] as (x, y), any real numbers, float32.

        Args:
            moves_BPK: the path's weights of each polynomial.
            basis_TK: the polynomials at each moment.
            one_hot_BL: the classes; L may be 0.
        """
        with torch.autocast(moves_BPK.device.type, enabled=False):
            asked_BSK = torch.einsum("sp,bpk->bsk", self.place.weight, moves_BPK.float())
            rows_BR = functional.pad(one_hot_BL.float(), (1, 0), value=1.0)
            middle_BSK, spread_BSK = (
                PACE * torch.einsum("br,rsk->bsk", rows_BR, table) for table in (self.middle_RSK, self.spread_RSK)
            )
            course_BSK = torch.exp(spread_BSK.clamp(NARROWEST, WIDEST)) * asked_BSK + middle_BSK
            place_BTS = torch.einsum("bsk,tk->bts", course_BSK, basis_TK.float()) + self.place.bias
        return place_BTS.reshape(*place_BTS.shape[:2], self.sprites, 2)
