"""Can a classifier tell generated clips from held-out ones? (C2ST, Lopez-Paz and Oquab 2017, arXiv 1610.06545.)

A kernel classifier learns on nine tenths of the clips of both kinds and is asked about the rest, for
each tenth in turn. An accuracy of 1/2 says that it learnt nothing. How far from 1/2 chance alone
leads is found by exchanging the two clips of random pairs and doing the same again (a permutation
test, their section 3). That assumes nothing but that the clips of one kind are independent:
so no two of the held-out clips are of one content group.

The features are fixed: the clip's gist, and what a few random, never trained filters answer to its
frames and to their changes. A difference that they do not show is not found.

Shapes: N clips of each kind (the first N real, the next N generated), B clips at a time, T frames,
K filters, S places, D features, F clips that are learnt from, P permutations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..data.loading.loader import Indices
from .gist import gist

FILTERS = ((24, 3, 5, 5), (48, 24, 3, 3))
SEED = 20_260_917
solve: Callable[[Tensor, Tensor], Tensor] = torch.linalg.solve  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
FOLDS = 10
RIDGE = 0.1
PERMUTATIONS = 400
LEAST_CLIPS = 50  # of each kind; chance alone then gives accuracies up to .62
MOST_CLIPS = 128  # likewise .57


@dataclass(frozen=True)
class Verdict:
    """How often the two kinds are told apart: 0.5 by guessing, 1 always."""

    accuracy: float
    low: float  # of the 95 % interval
    high: float

    @property
    def indistinguishable(self) -> bool:
        """Whether guessing explains the accuracy."""
        return self.low <= 0.5


@functools.cache
def _filters() -> tuple[Tensor, ...]:
    """[K, C, 5, 5] and [K', K, 3, 3], He-scaled; drawn by numpy, whose numbers are equal on every machine."""
    rng = np.random.default_rng(SEED)
    kernels = (rng.standard_normal(size) * (2 / np.prod(size[1:])) ** 0.5 for size in FILTERS)
    return tuple(torch.as_tensor(kernel.astype(np.float32)) for kernel in kernels)


@torch.no_grad()
def features(video_BCTHW: Tensor) -> Tensor:
    """float32 clips in [-1, 1] -> [B, D] on the CPU."""
    batch = len(video_BCTHW)
    parts_BD = [gist(video_BCTHW)]
    x_NCHW = video_BCTHW.transpose(1, 2).flatten(0, 1)
    for kernel in _filters():
        x_NCHW = functional.conv2d(x_NCHW, kernel.to(x_NCHW.device), stride=2, padding=kernel.shape[-1] // 2).relu()
        x_BTKS = x_NCHW.reshape(batch, -1, x_NCHW.shape[1], x_NCHW[0, 0].numel())
        change_BTKS = (x_BTKS[:, 1:] - x_BTKS[:, :-1]).abs()
        for each_BTKS in (x_BTKS, change_BTKS):
            for over_places_BTK in (each_BTKS.mean(3), each_BTKS.std(3, correction=0)):
                parts_BD += [over_places_BTK.mean(1), over_places_BTK.std(1, correction=0)]
    return torch.cat([part.cpu() for part in parts_BD], 1)


def two_sample_test(real_ND: Tensor, fake_ND: Tensor, label_N: Indices, seed: int) -> Verdict:
    """Compare the features of as many generated as held-out clips.

    Args:
        real_ND: of held-out clips, no two of one content group.
        fake_ND: of generated clips, pair by pair of the same class.
        label_N: the classes of the pairs; all equal without classes.
        seed: of folds and permutations.
    """
    num = len(real_ND)
    rng = np.random.default_rng(seed)
    kernel_FF = _kernel(torch.cat([real_ND, fake_ND]).double(), torch.as_tensor(np.tile(label_N, 2)))
    fold = torch.as_tensor(np.tile(rng.permutation(num) % FOLDS, 2))  # both of a pair in one
    exchanged_NP = rng.integers(0, 2, (num, PERMUTATIONS)) * 2.0 - 1
    truth_NP = torch.as_tensor(np.concatenate([np.ones((num, 1)), exchanged_NP], 1))  # the first column is the truth
    truth_NP = torch.cat([truth_NP, -truth_NP])
    right_P = torch.zeros(1 + PERMUTATIONS)
    for number in range(FOLDS):
        asked, learnt = fold == number, fold != number
        learnt_FF = kernel_FF[learnt][:, learnt]
        learnt_FF += RIDGE * torch.eye(len(learnt_FF), dtype=torch.float64)
        weights = solve(learnt_FF, truth_NP[learnt])
        answer: Tensor = kernel_FF[asked][:, learnt] @ weights
        right_P += ((answer > 0) == (truth_NP[asked] > 0)).sum(0)
    accuracy_P = right_P / (2 * num)
    chance = float(torch.quantile((accuracy_P[1:] - 0.5).abs(), 0.95))
    accuracy = float(accuracy_P[0])
    return Verdict(accuracy, accuracy - chance, accuracy + chance)


def _kernel(x_ND: Tensor, label_N: Tensor) -> Tensor:
    """Gaussian, as wide as the median distance, gist and filters alike; half as much between two classes."""
    x_ND = (x_ND - x_ND.mean(0)) / (x_ND.std(0) + 1e-6)
    of_filters = 8 * sum(size[0] for size in FILTERS)
    gist_ND, answers_ND = x_ND[:, :-of_filters], x_ND[:, -of_filters:]
    x_ND = torch.cat([gist_ND / gist_ND.shape[1] ** 0.5, answers_ND / of_filters**0.5], 1)
    distance_NN = torch.cdist(x_ND, x_ND, compute_mode="donot_use_mm_for_euclid_dist")
    width = distance_NN.median().clamp_min(1e-6)
    return (-(distance_NN / width).square()).exp() * (1 + (label_N[:, None] == label_N[None])) / 2
