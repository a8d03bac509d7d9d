"""Outlines of sprites: discs at first, with lobes drawn from the latent, bent where it pays.

A network whose outlines begin alike learns one outline and moves it to and fro between those that it should tell
apart, since the discriminator sees one kind too many and pushes all clips the same way. So outlines differ from the
start, in the few ways in which closed curves differ most: by the lowest harmonics of the angle around the middle
(Fourier descriptors of closed curves: Zahn and Roskies 1972). What separates kinds grows, and what no real thing has
fades. In between, anything is drawn by the network's own bends, at a price.

Shapes: B clips, K sprites, F lobes, Z latent, y and x for the rows and columns of a sprite's own canvas.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import costly, linear, soft_sign

OUTSIDE = -8.0  # the outline's logit off the canvas: less than a tenth of a grey level
FIRST, OTHERS = 0.0, -6.0  # how visible the first sprite is before training, and the others: logits
# Before a sprite is where it should be, fading is the quickest way to look less wrong, and what has faded learns
# nothing any more. So outlines swing only so far, and nothing here saturates.
SWING = 12.0
COST = 0.01  # and every bend has a price, so that outlines bend only where it pays
ROUND, RADIUS2 = 12.0, 0.35  # slope of the first outline, and the square of its radius in half canvases
FIRST_SLOPE = 2 * ROUND * RADIUS2**0.5  # in logits a half canvas
HARMONICS = (2, 3, 4)  # waves around the middle: ovals, triangles, squares
UNLIKE = 0.7  # how much outlines differ at first: deviation of what the latent asks of each lobe
LOBES = 3.0  # height of the lobes' waves at the first outline at most, in logits
FARTHEST = 2.0  # lobes grow with the square of the distance from the middle, to so many times that height
PACE = 10.0  # the strength of a lobe moves ten times as far as a weight in a step of the optimizer
FAINTEST, STRONGEST = -6.0, 3.0  # logarithms of that strength


class Outlines(nn.Module):
    """From latent and bends to outlines.

    Args:
        sprites: K.
        latent: Z, numbers of the content's latent and classes.
        canvas: height and width of a sprite's canvas in places.
    """

    disc_Kyx: Tensor
    harmonics_Fyx: Tensor

    def __init__(self, sprites: int, latent: int, canvas: tuple[int, int]) -> None:
        super().__init__()
        lobes = 2 * len(HARMONICS)
        self.lobes = linear(latent, sprites * lobes, gain=UNLIKE)
        self.strength_KF = nn.Parameter(torch.zeros(sprites, lobes))
        self.register_buffer("disc_Kyx", _discs(sprites, canvas), persistent=False)
        self.register_buffer("harmonics_Fyx", _harmonics(canvas), persistent=False)

    def forward(self, latent_BZ: Tensor, bent_BKyx: Tensor) -> Tensor:
        """Logits of what a sprite covers, [B, K, y, x]; float32, as both arguments.

        Args:
            latent_BZ: content's latent and class.
            bent_BKyx: the network's own bends, in logits.
        """
        asked_BKF = self.lobes(latent_BZ).unflatten(1, self.strength_KF.shape)
        strength_KF = torch.exp((PACE * self.strength_KF).clamp(FAINTEST, STRONGEST))
        lobes_BKF = LOBES * soft_sign(strength_KF * asked_BKF)
        lobed_BKyx = torch.einsum("bkf,fyx->bkyx", lobes_BKF, self.harmonics_Fyx)
        return self.disc_Kyx + lobed_BKyx + SWING * soft_sign(costly(bent_BKyx, COST) / SWING)


def middles(count: int, device: torch.device) -> Tensor:
    """The middles of `count` equal parts of -1..1: [count]."""
    return (torch.arange(count, device=device) + 0.5) * (2 / count) - 1


def _places(canvas: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """y and x of each place of a canvas, in half canvases: [y, x] each."""
    y_y, x_x = (middles(count, torch.device("cpu")) for count in canvas)
    y_yx, x_yx = torch.meshgrid(y_y, x_x, indexing="ij")
    return y_yx, x_yx


def _discs(sprites: int, canvas: tuple[int, int]) -> Tensor:
    """[K, y, x] logits of soft discs."""
    y_yx, x_yx = _places(canvas)
    visible_K11 = torch.full((sprites, 1, 1), OTHERS)
    visible_K11[0] = FIRST
    return visible_K11 + ROUND * (RADIUS2 - y_yx.square() - x_yx.square())


def _harmonics(canvas: tuple[int, int]) -> Tensor:
    """[F, y, x] waves around the middle, of height 1 at the first outline; nothing in the middle itself."""
    y_yx, x_yx = _places(canvas)
    angle_yx = torch.atan2(y_yx, x_yx)
    height_yx = ((y_yx.square() + x_yx.square()) / RADIUS2).clamp(max=FARTHEST)
    waves = [wave(count * angle_yx) for count in HARMONICS for wave in (torch.cos, torch.sin)]
    return height_yx * torch.stack(waves)
