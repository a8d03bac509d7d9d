"""A classifier that is trained to tell real from generated: where it cannot, there is nothing left to learn.

Shapes: N and M vectors of D dimensions; T of them for training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .metrics import squared_distances

Double = NDArray[np.float64]
Real = NDArray[np.floating]

WIDTHS = (0.5, 2.0, 8.0)  # of the kernel, in mean squared distances of two training vectors
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)  # weight of smoothness against fit
LINEAR = 0.1  # part of the linear kernel: a mean that is a little wrong shows best in it
SMALLEST = 1e-6


def two_sample_accuracy(real_ND: Real, fake_MD: Real, seed: int) -> float:
    """Held-out accuracy of a classifier of real and generated vectors: .5 when it cannot tell, 1 when always.

    The classifier two-sample test (Lopez-Paz and Oquab 2017). Half of each side trains, the other half is
    asked. The classifier is kernel ridge regression on -1 and 1 (a least-squares support vector
    machine, Suykens and Vandewalle 1999) with Gaussian and linear parts, solved exactly: nothing is left to
    a training that might not converge. Width and ridge are those that leave the smallest
    leave-one-out error within the training half, so a classifier that only learns its examples by
    heart, and then fails on the others as if there were no difference, is not chosen.

    The counts are made equal, so guessing gives .5; with n a side asked, chance strays by about
    .35 / sqrt(n). It does not see: memorised clips (copies are as real as it gets), how wrong what it
    tells is (a faint pattern in each clip gives 1 already), and what the embedding does not tell apart.

    Args:
        real_ND: one side.
        fake_MD: the other.
        seed: which vectors train; equal seeds give equal figures.

    Raises:
        ValueError: fewer than 2 vectors on a side.
    """
    count = min(len(real_ND), len(fake_MD))
    if count < 2:
        raise ValueError(f"a classifier needs 2 vectors or more on each side, not {count}")
    rng = np.random.default_rng([seed, 3])
    sides = [side[rng.permutation(len(side))[:count]].astype(np.float64) for side in (real_ND, fake_MD)]
    half = count // 2
    train_TD = np.concatenate([side[:half] for side in sides])
    asked_AD = np.concatenate([side[half:] for side in sides])
    truth_A = np.repeat([1.0, -1.0], count - half)
    score_A = _trained_scores(train_TD, np.repeat([1.0, -1.0], half), asked_AD)
    # A score of exactly 0 is a guess: right half the time.
    return float(np.where(score_A == 0, 0.5, score_A * truth_A > 0).mean())


def _trained_scores(train_TD: Double, side_T: Double, asked_AD: Double) -> Double:
    """Scores of the asked vectors, above 0 for the side of 1."""
    middle_D, size_D = train_TD.mean(0), train_TD.std(0)
    scale_D = 1 / np.maximum(size_D, SMALLEST * max(float(size_D.max()), SMALLEST))
    train_TD, asked_AD = (train_TD - middle_D) * scale_D, (asked_AD - middle_D) * scale_D
    within_TT, across_AT = squared_distances(train_TD, train_TD), squared_distances(asked_AD, train_TD)
    usual = max(float(within_TT.mean()), SMALLEST)
    linear_TT, linear_AT = train_TD @ train_TD.T * (2 / usual), asked_AD @ train_TD.T * (2 / usual)
    best: tuple[float, Double] | None = None
    for width in WIDTHS:
        kernel_TT = np.exp(within_TT / (-usual * width)) + LINEAR * linear_TT
        error, weight_T = _ridge(kernel_TT, side_T)
        if best is None or error < best[0]:
            best = error, (np.exp(across_AT / (-usual * width)) + LINEAR * linear_AT) @ weight_T
    assert best is not None
    return best[1]


def _ridge(kernel_TT: Double, side_T: Double) -> tuple[float, Double]:
    """Least mean squared leave-one-out error over the ridges, and that solution's weights."""
    values_T, vectors_TT = np.linalg.eigh(kernel_TT)
    turned_T = vectors_TT.T @ side_T
    best: tuple[float, Double] | None = None
    for ridge in RIDGES:
        inverse_T = 1 / (np.maximum(values_T, 0) + ridge * len(side_T))
        weight_T = vectors_TT @ (turned_T * inverse_T)
        left_out_T = weight_T / ((vectors_TT**2) @ inverse_T)  # side less prediction without this vector
        error = float((left_out_T**2).mean())
        if best is None or error < best[0]:
            best = error, weight_T
    assert best is not None
    return best
