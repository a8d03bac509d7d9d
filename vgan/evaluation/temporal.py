"""How clips move and flicker, in a few plain numbers a clip, and how far two sets differ in them.

Directions come from the opponent correlator of insect vision (Hassenstein and Reichardt 1956), which needs no
search for what went where and so works on clips of 16 pixels: what was here and is one step
further now, less what was one step further and is here now. It is summed over blocks, where noise
cancels and motion does not, at three scales, for what moves several pixels a frame.

Shapes: N clips, T frames, H height, W width, C colours, F columns, B blocks.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .features import check_clips
from .metrics import transport

UInt8 = NDArray[np.uint8]
Double = NDArray[np.float64]

SIDE = 16  # pixels of the longer side at which motion is looked at; larger frames are averaged down
SCALES = (1, 2, 4)  # how often those pixels are averaged down once more for directions
BLOCK = 4  # pixels of each scale: the side of what has one direction
BINS = 8  # directions: 0 is rightwards, then every 45 degrees, clockwise on the screen
STILL = 1.0  # squared levels: blocks of less correlation do not move
MOTION_SIZE, FLICKER, FIRST_BIN = 0, 1, 2  # columns of `describe`
CHUNK = 64  # clips at once


def describe(clips_NTHWC: UInt8) -> Double:
    """What moves and flickers in each clip, float64 [N, 10].

    Column 0, motion size: mean difference of neighbouring frames, in levels (0 to 255), at 16 pixels.
    Column 1, flicker: mean second difference of the frames' mean brightness, in levels; 0 below three frames.
    Columns 2 to 9: share of the clip's motion that goes right, down right, down, and so on clockwise; they sum to
    1, or are all 0 in a clip in which nothing moves.

    Raises:
        ValueError: not uint8 [N, T >= 2, H, W, 3].
    """
    check_clips(clips_NTHWC)
    chunks = (clips_NTHWC[start : start + CHUNK] for start in range(0, len(clips_NTHWC), CHUNK))
    return np.concatenate([_describe_chunk(chunk) for chunk in chunks])


def motion_size_gap(real_NF: Double, fake_MF: Double) -> float:
    """Wasserstein-1 distance of the motion sizes of two sets, in levels; 0 or above, lower is better.

    Sees frozen time, shuffled time (neighbours differ more), noise that outlasts averaging, and too fast or too
    slow motion. Does not see: where things go, blur, wrong labels, memorised clips; two faults may
    cancel, such as little motion and much noise.
    """
    return float(transport(real_NF[:, [MOTION_SIZE]], fake_MF[:, [MOTION_SIZE]])[0])


def flicker_gap(real_NF: Double, fake_MF: Double) -> float:
    """Wasserstein-1 distance of the flicker of two sets, in levels; 0 or above, lower is better.

    Sees frames that are brighter and darker in turn, or steadier than real ones, and noise, whose mean over a
    frame is not quite 0, in clips that hardly flicker. Does not see: blur, which leaves a frame's mean;
    frozen or shuffled time where the brightness is constant anyway; where things go; wrong labels;
    memorised clips.
    """
    return float(transport(real_NF[:, [FLICKER]], fake_MF[:, [FLICKER]])[0])


def motion_direction_gap(real_NF: Double, fake_MF: Double) -> float:
    """How far the directions of two sets differ, 0 to 1; lower is better.

    Half the sum, over the eight directions and "nothing moves", of the Wasserstein-1 distance of the clips' shares.
    That is the total variation distance where each clip has one direction, and more than that
    between the mean histograms where each clip scatters and only their mean is right.

    Sees frozen time once nothing moves, shuffled time, motion the wrong way, and noise as far as it scatters the
    directions. Does not see: speed, blur, wrong labels, memorised clips.
    """
    return float(transport(_directions(real_NF), _directions(fake_MF)).sum() / 2)


def _directions(described_NF: Double) -> Double:
    shares = described_NF[:, FIRST_BIN : FIRST_BIN + BINS]
    return np.concatenate([shares, 1 - shares.sum(1, keepdims=True)], axis=1)


def _describe_chunk(clips_NTHWC: UInt8) -> Double:
    clips_NTCHW = torch.as_tensor(np.ascontiguousarray(clips_NTHWC)).permute(0, 1, 4, 2, 3)
    with torch.inference_mode():
        small_NTCHW = _small(clips_NTCHW)
        size_N = small_NTCHW.diff(dim=1).abs().mean((1, 2, 3, 4)).double().numpy()
        shares_NF = _direction_shares(small_NTCHW.mean(2)).double().numpy()
    brightness_NT = clips_NTHWC.mean((2, 3, 4), dtype=np.float64)
    second = np.abs(np.diff(brightness_NT, n=2, axis=1))
    flicker_N = second.mean(1) if second.shape[1] else np.zeros(len(second))
    return np.concatenate([np.stack([size_N, flicker_N], axis=1), shares_NF], axis=1)


def _small(clips_NTCHW: Tensor) -> Tensor:
    """Float, averaged down to at most SIDE pixels a side."""
    n, t, c, height, width = clips_NTCHW.shape
    scale = min(1.0, SIDE / max(height, width))
    least = max(SCALES)
    size = (max(least, round(height * scale)), max(least, round(width * scale)))
    frames = clips_NTCHW.flatten(0, 1).float()
    return F.interpolate(frames, size=size, mode="area").reshape(n, t, c, *size)


def _direction_shares(grey_NTHW: Tensor) -> Tensor:
    """[N, 8] share of all motion in each direction."""
    histogram = torch.zeros(len(grey_NTHW), BINS)
    for scale in SCALES:
        right_NB, down_NB = _opponents(F.avg_pool2d(grey_NTHW, scale))
        # A correlation is a squared level: its root weighs a bright thing as its brightness, not as the square.
        strength_NB = torch.hypot(right_NB, down_NB)
        weight_NB = torch.where(strength_NB > STILL, strength_NB.sqrt(), 0)
        bin_NB = (torch.atan2(down_NB, right_NB) * (BINS / (2 * torch.pi))).round().long() % BINS
        histogram.scatter_add_(1, bin_NB, weight_NB)
    return histogram / histogram.sum(1, keepdim=True).clamp_min(1e-9)


def _opponents(grey_NTHW: Tensor) -> tuple[Tensor, Tensor]:
    """Correlation along x and y of each block and pair of neighbouring frames: [N, B] each."""
    now, later = grey_NTHW[:, :-1], grey_NTHW[:, 1:]
    right = now[..., :-1] * later[..., 1:] - now[..., 1:] * later[..., :-1]
    down = now[..., :-1, :] * later[..., 1:, :] - now[..., 1:, :] * later[..., :-1, :]
    right_NB = F.avg_pool2d(F.pad(right, (0, 1)), BLOCK, ceil_mode=True).flatten(1)
    down_NB = F.avg_pool2d(F.pad(down, (0, 0, 0, 1)), BLOCK, ceil_mode=True).flatten(1)
    return right_NB, down_NB
