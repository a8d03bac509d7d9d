"""Sliced Wasserstein distance between small patches of clips: of frames, of slices through time, of changes.

After Karras et al. 2018 (section 5): 7 x 7 patches, a Laplacian pyramid, random directions, and along each
direction the Wasserstein-1 distance of what is there. Three things differ, so that a clip is looked at
once and comparisons of any choice of clips take about a millisecond:

- A clip is kept as the distribution of its patches along each direction, a cumulative histogram at
  fixed thresholds. That of a set is the mean of its clips', and the distance is the area between
  two such curves: the Wasserstein-1 distance up to the thresholds' steps.
- Each direction counts in units of its own spread among the real clips. Karras et al. divide each
  colour channel of both sets by its own deviation, which hides a wrong brightness or contrast.
- Patches of slices and of differences are treated as those of frames, so time is seen too.

Shapes: N clips, T frames, H height, W width, C colours, S images of a clip, P thresholds, D directions, Q patches.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .features import check_clips

UInt8 = NDArray[np.uint8]
Float = NDArray[np.float32]
Counts = NDArray[np.uint8]

SEED = 20_261_121
SIDE = 7  # of a patch, or what there is of a shorter side
LEVELS = 3  # of the pyramid at most
SMALLEST = 16  # a level is not made smaller
DIRECTIONS = 64  # of each level, and at least FEWEST in all
FEWEST = 128
PATCHES = 64  # of each clip, level and kind
CYCLE = 32  # clips until the same places come again
IMAGES = {"frames": 4, "changes": 4, "xt": 8, "yt": 8}  # of each clip that the patches are spread over
THRESHOLDS = 32
STEP, SOFT = 0.37, 4.0  # thresholds lie SOFT sinh(i STEP) levels from 0: 1.5 levels apart there, 600 levels reach
LEAST_SPREAD = 1.0  # level; real clips that never change must not blow up a difference of less

KINDS = ("frames", "xt", "yt", "changes")


def describe(clips_NTHWC: UInt8, seed: int) -> dict[str, Counts]:
    """How the patches of each clip are distributed, in four kinds of images.

    "frames": frames. "xt" and "yt": slices at one row or column, time downwards. "changes": differences of
    neighbouring frames. The first clips of two calls with equal seed and shape are looked at in the same
    places, and so on; after 32 clips the places come again, so that chunks of 32 give what one call gives.

    Args:
        clips_NTHWC: uint8 [N, T >= 2, H, W, 3], at least 16 x 16.
        seed: of the places; the directions are always the same.

    Returns:
        by kind, uint8 [N, P, D]: of the clip's 64 patches, how many lie at or below a threshold on a direction.

    Raises:
        ValueError: another dtype or shape.
    """
    return {kind: _cumulative(values) for kind, values in _projected(clips_NTHWC, seed)}


def projections(clips_NTHWC: UInt8, seed: int) -> dict[str, Float]:
    """By kind, float32 [N, Q, D], in levels: where the patches lie along the directions, which `describe` counts."""
    return {kind: values.numpy() for kind, values in _projected(clips_NTHWC, seed)}


def sliced_wasserstein(real_NPD: Counts, fake_NPD: Counts) -> float:
    """Distance between the patches of two sets of clips, each from `describe`; any counts. 0 or above, lower is better.

    The mean over all directions of the Wasserstein-1 distance, over the mean distance of two real patches.

    What it sees depends on the kind. frames: texture and sharpness, noise, blur, contrast, colour, and what is
    more or less often there; not which frame follows which, so not frozen or shuffled clips. xt and yt:
    also how edges go on in time along that axis, so frozen and shuffled clips. changes: how much
    and how sharply things change, so frozen and shuffled clips, noise and blur. None of them sees
    memorised clips, few kinds of clips that have the right patches together, clips under a wrong
    label, or what is wrong in shapes larger than 7 pixels of the coarsest level alone.
    """
    real_PD = _mean_of_clips(real_NPD)
    gap_D = _weights() @ np.abs(real_PD - _mean_of_clips(fake_NPD))
    spread_D = 2 * _weights() @ (real_PD * (1 - real_PD))  # mean distance of two draws
    return float((gap_D / np.maximum(spread_D, LEAST_SPREAD)).mean())


def _mean_of_clips(counts_NPD: Counts) -> NDArray[np.float64]:
    """[P, D] share of all patches, 0 to 1."""
    return counts_NPD.sum(0, dtype=np.int64) / (len(counts_NPD) * PATCHES)


@functools.cache
def _weights() -> NDArray[np.float64]:
    """[P] width that each threshold stands for, in levels."""
    places = SOFT * np.sinh((np.arange(THRESHOLDS) - (THRESHOLDS - 1) / 2) * STEP)
    edges = np.concatenate([places[:1], (places[1:] + places[:-1]) / 2, places[-1:]])
    return np.diff(edges)


def _cumulative(values_NQD: Tensor) -> Counts:
    """[N, P, D] number of patches at or below each threshold."""
    n, _, d = values_NQD.shape
    place = torch.asinh(values_NQD / SOFT) / STEP + (THRESHOLDS - 1) / 2
    bucket_NQD = place.ceil().clamp(0, THRESHOLDS).long()  # at or below threshold b: bucket b or less
    cell = (torch.arange(n)[:, None, None] * (THRESHOLDS + 1) + bucket_NQD) * d + torch.arange(d)
    counts = torch.bincount(cell.flatten(), minlength=n * (THRESHOLDS + 1) * d).reshape(n, THRESHOLDS + 1, d)
    return counts.cumsum(1)[:, :-1].to(torch.uint8).numpy()


def _projected(clips_NTHWC: UInt8, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Each kind with float32 [N, Q, D]."""
    check_clips(clips_NTHWC)
    with torch.inference_mode():
        clips_NTCHW = torch.as_tensor(np.ascontiguousarray(clips_NTHWC)).permute(0, 1, 4, 2, 3)
        for number, kind in enumerate(KINDS):
            rng = np.random.default_rng([seed, number])
            images_NSCHW = _images(clips_NTCHW, kind, rng)
            levels = _pyramid(images_NSCHW, in_both=kind in ("frames", "changes"))
            yield kind, torch.cat([_along(level, i, len(levels), rng) for i, level in enumerate(levels)], dim=2)


def _images(clips_NTCHW: Tensor, kind: str, rng: np.random.Generator) -> Tensor:
    """Some images of each clip at random, float [N, S, C, H, W]; the height of a slice is time."""
    axis = {"frames": 1, "changes": 1, "xt": 3, "yt": 4}[kind]
    there = clips_NTCHW.shape[axis] - (kind == "changes")
    orders = np.stack([rng.permutation(there)[: IMAGES[kind]] for _ in range(CYCLE)])
    chosen_NS, clip_N1 = _in_turn(orders, len(clips_NTCHW)), torch.arange(len(clips_NTCHW))[:, None]
    if kind == "xt":
        return clips_NTCHW.permute(0, 3, 1, 2, 4)[clip_N1, chosen_NS].transpose(2, 3).float()
    if kind == "yt":
        return clips_NTCHW.permute(0, 4, 1, 2, 3)[clip_N1, chosen_NS].transpose(2, 3).float()
    images = clips_NTCHW[clip_N1, chosen_NS].float()
    return clips_NTCHW[clip_N1, chosen_NS + 1].float() - images if kind == "changes" else images


def _in_turn(rows: NDArray[np.int64], count: int) -> Tensor:
    """[count, ...] the rows, again and again."""
    return torch.as_tensor(rows)[torch.arange(count) % len(rows)]


def _pyramid(images_NSCHW: Tensor, in_both: bool) -> list[Tensor]:
    """Laplacian levels, the finest first, and what is left; time, the height of a slice, is not made coarser."""
    shape = images_NSCHW.shape
    image = images_NSCHW.flatten(0, 1)
    levels: list[Tensor] = []
    for _ in range(LEVELS - 1):
        height, width = image.shape[2:]
        small = (height // 2 if in_both else height, width // 2)
        if min(small if in_both else small[1:]) < SMALLEST:
            break
        coarse = F.interpolate(image, size=small, mode="area")
        levels.append(image - F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False))
        image = coarse
    return [level.reshape(*shape[:3], *level.shape[2:]) for level in (*levels, image)]


def _along(level_NSCHW: Tensor, level: int, levels: int, rng: np.random.Generator) -> Tensor:
    """Random patches of each clip, projected on this level's directions: [N, Q, D]."""
    n, images, _, height, width = level_NSCHW.shape
    tall, wide = min(SIDE, height), min(SIDE, width)
    y_NQ = _in_turn(rng.integers(height - tall + 1, size=(CYCLE, PATCHES)), n)
    x_NQ = _in_turn(rng.integers(width - wide + 1, size=(CYCLE, PATCHES)), n)
    y = (y_NQ[..., None] + torch.arange(tall))[..., None]
    x = (x_NQ[..., None] + torch.arange(wide))[..., None, :]
    clip, image = torch.arange(n)[:, None, None, None], (torch.arange(PATCHES) % images)[:, None, None]
    patches_NQhwC = level_NSCHW.permute(0, 1, 3, 4, 2)[clip, image, y, x]
    count = max(DIRECTIONS, -(-FEWEST // levels))
    return patches_NQhwC.flatten(2) @ _directions(level, patches_NQhwC[0, 0].numel(), count)


@functools.cache
def _directions(level: int, length: int, count: int) -> Tensor:
    """[length, count] random columns of length 1."""
    random = np.random.default_rng([SEED, level]).standard_normal((length, count))
    return torch.as_tensor((random / np.linalg.norm(random, axis=0)).astype(np.float32))
