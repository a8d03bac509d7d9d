"""From a seed to pixels, the same way while training, in evaluation and in the packaged model.

Shapes: Z latent, T frames, H height, W width, C = 3 colours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from .interface import Generator

Uint8 = npt.NDArray[np.uint8]


def latent(generator: Generator, seed: int) -> Tensor:
    """The latent [1, Z] that belongs to a seed; drawn on the CPU, so it is the same for every device."""
    return torch.randn(1, generator.latent, generator=torch.Generator().manual_seed(seed))


def between(first_BZ: Tensor, second_BZ: Tensor, share: float) -> Tensor:
    """Spherical interpolation of two latents [1, Z] (White 2016, arXiv 1609.04468; formula of Shoemake 1985).

    On the straight line the middle would be shorter than any latent that training has seen.

    Args:
        first_BZ: what share 0 gives, bit for bit.
        second_BZ: what share 1 gives, bit for bit.
        share: of the way from the first to the second, 0 to 1.
    """
    if share <= 0 or share >= 1:
        return first_BZ if share <= 0 else second_BZ
    angle = torch.acos(functional.cosine_similarity(first_BZ.double(), second_BZ.double()).clamp(-1, 1))
    if torch.sin(angle) < 1e-6:  # the same direction, or the opposite one, which no one arc joins
        return torch.lerp(first_BZ, second_BZ, share)
    weights = torch.sin((1 - share) * angle) / torch.sin(angle), torch.sin(share * angle) / torch.sin(angle)
    return (weights[0] * first_BZ + weights[1] * second_BZ).to(first_BZ.dtype)


@torch.inference_mode()
def generate_clip(
    generator: Generator, seed: int, label: int | None, frames: int | None = None, *, z_BZ: Tensor | None = None
) -> Uint8:
    """One clip, uint8 [T, H, W, 3].

    Clips are made one at a time, and long ones in pieces of the trained length: in a larger batch the libraries
    choose other kernels, and the same seed would no longer give the same pixels. A long clip so begins with
    exactly the short one, and needs no more memory.

    Args:
        generator: in float32.
        seed: 0 or more.
        label: class index; None without classes.
        frames: length; None for the trained one. Longer clips walk the motion to and fro (`blocks.legendre`).
        z_BZ: the latent [1, Z] to use instead of the seed's.
    """
    device = next(generator.parameters()).device
    label_B = None if label is None else torch.tensor([label], device=device)
    z_BZ = (latent(generator, seed) if z_BZ is None else z_BZ).to(device)
    length, piece = frames or generator.shape.frames, generator.shape.frames
    pieces: list[Uint8] = []
    for start in range(0, length, piece):
        times_T = None if start == 0 else torch.arange(start, start + piece, device=device)
        pieces.append(_to_pixels(generator(z_BZ, label_B, times_T)))
    return np.concatenate(pieces)[:length] if len(pieces) > 1 else pieces[0][:length]


def _to_pixels(video_BCTHW: Tensor) -> Uint8:
    """The first clip of a batch in [-1, 1] -> uint8 [T, H, W, 3]."""
    pixels_THWC = video_BCTHW[0].permute(1, 2, 3, 0).add(1).mul(127.5).round_().clamp_(0, 255)
    return np.asarray(pixels_THWC.to(torch.uint8).cpu().contiguous().numpy(), np.uint8)
