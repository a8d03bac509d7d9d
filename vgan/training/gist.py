"""The gist of a clip: a film of a few coarse frames, as one vector.

Distances between gists say whether clips show the same things in the same places at the same
time, which is all it takes to see that they are copies of one another; fine detail is averaged away.

Shapes: B clips, N and M gists, C channels, T frames, H height, W width, D numbers of a gist.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..data.loading.loader import ClipSet, Indices
from ..models.interface import Generator

FRAMES = 4
SIDE = 8
AT_ONCE = 16  # clips


@torch.no_grad()
def gist(video_BCTHW: Tensor) -> Tensor:
    """float32 clips in [-1, 1] -> [B, D] on the CPU; distances of gists are root mean squares in the same unit."""
    frames, height, width = video_BCTHW.shape[2:]
    size = (min(FRAMES, frames), min(SIDE, height), min(SIDE, width))
    coarse_BD = functional.adaptive_avg_pool3d(video_BCTHW, size).flatten(1)
    return coarse_BD.cpu() / coarse_BD.shape[1] ** 0.5


def distances(one_ND: Tensor, other_MD: Tensor) -> Tensor:
    """[N, M] Euclidean distances, exact also where they are small."""
    return torch.cdist(one_ND, other_MD, compute_mode="donot_use_mm_for_euclid_dist")


def real_clips(clips: ClipSet, indices: Indices, device: torch.device) -> Iterator[Tensor]:
    """Some clips of a set, float32 in [-1, 1], a few at a time."""
    for start in range(0, len(indices), AT_ONCE):
        pixels_BCTHW = clips.read(indices[start : start + AT_ONCE])
        yield torch.from_numpy(pixels_BCTHW).to(device).float() / 127.5 - 1  # pyright: ignore[reportUnknownMemberType]


@torch.no_grad()
def generated_clips(generator: Generator, labels_N: Indices | None, num: int, seed: int) -> Iterator[Tensor]:
    """`num` clips as they would be written to a file: float32 in [-1, 1] in 256 levels, a few at a time.

    Args:
        generator: the average.
        labels_N: their classes; None without classes.
        num: of clips.
        seed: of their latents, which are drawn on the CPU.
    """
    device = next(generator.parameters()).device
    z_NZ = torch.randn(num, generator.latent, generator=torch.Generator().manual_seed(seed))
    for start in range(0, num, AT_ONCE):
        part = slice(start, min(start + AT_ONCE, num))
        label_B = None if labels_N is None else torch.as_tensor(np.array(labels_N[part]), device=device)
        video_BCTHW = generator(z_NZ[part].to(device), label_B).float()
        yield video_BCTHW.add(1).mul(127.5).round().clamp(0, 255) / 127.5 - 1
