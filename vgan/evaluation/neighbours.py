"""What the nearest neighbour of a clip says: is it of the same kind, and is it a copy?

Shapes: N and M vectors of D dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .metrics import squared_distances

Double = NDArray[np.float64]
Real = NDArray[np.floating]
Indices = NDArray[np.int64]

BLOCK_ROWS = 512  # rows and columns of a distance matrix held at once: at most 512 x 8192
BLOCK_COLUMNS = 8192


def nearest_neighbour_accuracy(real_ND: Real, fake_MD: Real) -> float:
    """How often the nearest other vector of real and generated together is of the same side: 0 to 1, .5 is best.

    The leave-one-out 1-NN two-sample test (Friedman and Rafsky 1979; Lopez-Paz and Oquab 2017; Xu et al. 2018).
    1: the sets lie apart. Below .5: generated vectors sit on real ones, closer than real ones to each
    other, which is what copies of these very real clips give; 0 for an exact copy of each.

    It does not see: which clips are bad, how far away those are that do not mix, and memorised training
    clips (copies of what is not in `real_ND`). Takes equal counts; else the larger side wins.
    """
    both = np.concatenate([real_ND, fake_MD]) - real_ND.mean(0)
    is_real = np.arange(len(both)) < len(real_ND)
    right = 0
    for start in range(0, len(both), BLOCK_ROWS):
        distance_BN = squared_distances(both[start : start + BLOCK_ROWS], both)
        rows = np.arange(len(distance_BN))
        distance_BN[rows, start + rows] = np.inf  # not its own neighbour
        right += int((is_real[distance_BN.argmin(1)] == is_real[start : start + BLOCK_ROWS]).sum())
    return right / len(both)


def nearest(vectors_ND: Real, train_MD: Real) -> tuple[Double, Indices]:
    """The nearest training vector of each vector.

    Memory does not grow with M, so `train_MD` may be a whole training set.

    Returns:
        Euclidean distances, float64 [N], exactly 0 for a copy; and places in `train_MD`, int64 [N].
    """
    middle_D = train_MD.mean(0)  # far from the origin, products would round away all distances
    best_N = np.full(len(vectors_ND), np.inf)
    index_N = np.zeros(len(vectors_ND), np.int64)
    for row in range(0, len(vectors_ND), BLOCK_ROWS):
        rows = slice(row, row + BLOCK_ROWS)
        block_BD = vectors_ND[rows] - middle_D
        for start in range(0, len(train_MD), BLOCK_COLUMNS):
            distance_BC = squared_distances(block_BD, train_MD[start : start + BLOCK_COLUMNS] - middle_D)
            found_B = distance_BC.argmin(1)
            smallest_B = distance_BC[np.arange(len(found_B)), found_B]
            nearer_B = smallest_B < best_N[rows]
            best_N[rows] = np.where(nearer_B, smallest_B, best_N[rows])
            index_N[rows] = np.where(nearer_B, found_B + start, index_N[rows])
    # Once more by differences: products give a copy a distance that is not quite 0.
    return np.sqrt(((vectors_ND - train_MD[index_N]).astype(np.float64) ** 2).sum(1)), index_N


def memorisation(fake_distance_N: Double, real_distance_M: Double) -> float:
    """Median distance of generated clips to their nearest training clip, over that of held-out real ones: 0 to 1.

    Near 0: the generator repeats training clips (after Meehan et al. 2020). 1: it keeps its distance as real
    clips that were not trained on do; what is farther away counts as 1 too, for that is a fault of
    quality, which the other figures measure, and no virtue. Higher is better. Where real clips
    themselves lie on training clips (a still or repeated scene) nothing can be told: 1.

    It does not see: noise, blur, frozen or shuffled time, wrong labels; copies among fewer than half of the
    clips; copies that the embedding does not recognise, such as mirrored ones.
    """
    usual = float(np.median(real_distance_M))
    return min(1.0, float(np.median(fake_distance_N)) / usual) if usual > 0 else 1.0
