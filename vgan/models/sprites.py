"""Sprites: a few pictures with soft outlines, drawn once a clip and laid over every frame where a path takes them.

Convolutions driven by a code alone find it hard to put one thing in one place, and to keep its colour while it
moves: for a long time they draw the whole street along which it may lie. A sprite is in one place and of one colour by
construction, and is paid for once a clip instead of once a frame. (A moving foreground over a still background:
Vondrick et al. 2016, arXiv 1609.02612, eq. 2; a small canvas written into a large one by two products of matrices:
Gregor et al. 2015, arXiv 1502.04623, eq. 27 to 29, here with hat functions instead of Gaussians.)

Shapes: B clips, T frames, K sprites, D content, C channels, H height, W width, and y and x for the rows and
columns of a sprite's own canvas.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import activate, conv, costly, linear, soft_sign
from .outline import FIRST_SLOPE, OUTSIDE, Outlines, middles

REACH = 1.2  # places run from -1 to 1 over the picture, so a sprite can leave it
PART = 0.1  # how far, at first, the others are from the first one in place and colour
# Where no thing of its own moves a sprite has to go: all of it, but slowly, or it fades before it is where it belongs.
PRESENT, PRESENCE_PACE = 3.0, 0.2
# Outlines begin soft, which tells from afar where to go, and become sharp as the training asks for it. The exponent
# moves ten times as far as a weight does in a step of the optimizer, or it would hardly move in a whole training.
SHARPENING, SHARPEST = 10.0, 3.0  # that pace, and the bounds of the exponent
# Nor sharper than a pixel can show, which would leave steps on every slope: a real edge goes from dark to bright within
# about one pixel, as a logit does that changes by 5.
PIXEL_SLOPE = 5.0
TINTS = 64  # hidden features between latent and tint
# How much the colours and sizes of sprites differ at first, and the colours of one over its canvas.
HUE, SIZES, TEXTURE = 1.2, 0.5, 0.2
TEXTURE_COST = 0.01  # or in some clips the middle of a flat thing fades, and its rim is left


class Sprites(nn.Module):
    """What moves.

    Args:
        sprites: K.
        latent: Z, numbers of the content's latent and classes.
        code: D, numbers of the content code.
        features: channels of the maps that the canvases are read from.
        canvas: their height and width in places.
        size: half the extent of a canvas at the start of training, in half pictures.
    """

    def __init__(
        self, sprites: int, latent: int, code: int, features: int, canvas: tuple[int, int], size: float
    ) -> None:
        super().__init__()
        self.sprites, self.size = sprites, size
        self.canvas = conv(features, 4 * sprites, gain=0.5)
        # Read from the latent itself, not from the code: where a sprite is has to be learnt before its looks can be
        # judged, and until then smaller and brighter looks better: a deep code soon makes all of them small and white.
        self.colour = linear(latent, 3 * sprites, gain=HUE)
        # A linear map of noise has as many dark colours as bright ones. What the tint adds is bounded, so that it can
        # exchange those that no real thing has, but not make all of them white.
        self.tint1 = linear(latent, TINTS)
        self.tint2 = linear(TINTS, 3 * sprites, gain=0.1)
        self.scale = linear(latent, sprites, gain=SIZES)
        self.sharpness = nn.Parameter(torch.zeros(sprites))
        self.presence = linear(code, sprites, gain=0.1 / PRESENCE_PACE)
        self.outlines = Outlines(sprites, latent, canvas)

    def forward(
        self, picture_BTCHW: Tensor, features_BCyx: Tensor, latent_BZ: Tensor, code_BD: Tensor, place_BTK2: Tensor
    ) -> Tensor:
        """Lay the sprites over a picture in [-1, 1], the last one on top: [B, T, 3, H, W], float32.

        Args:
            picture_BTCHW: what is behind; T may be 1 for a still one.
            features_BCyx: one map a clip, of the canvas's size.
            latent_BZ: content's latent and class.
            code_BD: content.
            place_BTK2: where to (course.py).
        """
        canvas_BKCyx = self.canvas(features_BCyx).unflatten(1, (self.sprites, 4)).float()
        height, width = picture_BTCHW.shape[3:]
        with torch.autocast(picture_BTCHW.device.type, enabled=False):
            latent_BZ = latent_BZ.float()
            logit_BKyx = self.outlines(latent_BZ, canvas_BKCyx[:, :, 3]) - OUTSIDE
            hue_BKC = _around_the_first(self._hues(latent_BZ))
            textured_BKCyx = TEXTURE * costly(canvas_BKCyx[:, :, :3], TEXTURE_COST)
            colour_BKCyx = soft_sign(hue_BKC[..., None, None] + textured_BKCyx)
            layer_BKCyx = torch.cat([colour_BKCyx, logit_BKyx[:, :, None]], 2)
            across_BTK, downwards_BTK = (REACH * soft_sign(_around_the_first(place_BTK2))).unbind(3)
            size_BTK = (self.size * torch.exp(soft_sign(self.scale(latent_BZ))))[:, None].expand_as(across_BTK)
            along_BTKWx = hats(across_BTK, size_BTK, width, canvas_BKCyx.shape[4])
            down_BTKHy = hats(downwards_BTK, size_BTK, height, canvas_BKCyx.shape[3])
            presence_BK = torch.sigmoid(PRESENT + PRESENCE_PACE * self.presence(code_BD.float()))
            sharper_BTK = self._sharper(size_BTK * (min(height, width) / 2))
            for k in range(self.sprites):
                wide_BTCyW = torch.einsum("bcyx,btwx->btcyw", layer_BKCyx[:, k], along_BTKWx[:, :, k])
                drawn_BTCHW = torch.einsum("btcyw,bthy->btchw", wide_BTCyW, down_BTKHy[:, :, k])
                # The outline is enlarged as a logit, so that it stays sharp whatever the enlargement.
                logit_BT1HW = (drawn_BTCHW[:, :, 3:] + OUTSIDE) * sharper_BTK[:, :, k, None, None, None]
                cover_BT1HW = torch.sigmoid(logit_BT1HW) * presence_BK[:, None, k, None, None, None]
                picture_BTCHW = picture_BTCHW + cover_BT1HW * (drawn_BTCHW[:, :, :3] - picture_BTCHW)
        return picture_BTCHW

    def _sharper(self, pixels_BTK: Tensor) -> Tensor:
        """What the outlines' logits are multiplied with, by the pixels of half a canvas."""
        asked_K = torch.exp((SHARPENING * self.sharpness).clamp(-SHARPEST, SHARPEST))
        return torch.minimum(asked_K, PIXEL_SLOPE / FIRST_SLOPE * pixels_BTK)

    def _hues(self, latent_BZ: Tensor) -> Tensor:
        """[B, Z] -> [B, K, 3], before `soft_sign`."""
        tint_BN = soft_sign(self.tint2(activate(self.tint1(latent_BZ))))
        return (self.colour(latent_BZ) + tint_BN).reshape(-1, self.sprites, 3)


def _around_the_first(values: Tensor) -> Tensor:
    """[..., K, N]: the others' values become differences from the first one's: sprites begin as parts of one body."""
    return torch.cat([values[..., :1, :], values[..., :1, :] + PART * values[..., 1:, :]], -2)


def hats(place_BTK: Tensor, size_BTK: Tensor, length: int, cells: int) -> Tensor:
    """How much of each cell of a canvas each pixel shows, along one axis: [B, T, K, length, cells].

    Linear interpolation, by hat functions of one cell's width, or of one pixel's where the canvas is drawn smaller
    than it is; a pixel off the canvas shows nothing.

    Args:
        place_BTK: middle of the canvas, -1 to 1 over the picture.
        size_BTK: half its extent, in half pictures.
        length: pixels of the picture.
        cells: of the canvas.
    """
    local_BTKW = (middles(length, place_BTK.device) - place_BTK[..., None]) / size_BTK[..., None]
    cell_BTKW = (local_BTKW + 1) * (cells / 2) - 0.5
    width_BTK11 = (cells / (size_BTK * length)).clamp(min=1.0)[..., None, None]
    away_BTKWx = (cell_BTKW[..., None] - torch.arange(cells, device=place_BTK.device)).abs()
    share_BTKWx = torch.relu(1 - away_BTKWx / width_BTK11)
    return share_BTKWx / torch.maximum(share_BTKWx.sum(4, keepdim=True), width_BTK11)
