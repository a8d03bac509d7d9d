"""Distances between two sets of feature vectors; plain functions of arrays.

Every figure here depends on the number of samples (the Frechet distance and the neighbour
counts strongly, the kernel distance only in its spread), so figures are compared at equal
counts only: calibration.py sees to that.

Shapes: N real vectors, M generated vectors, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Double = NDArray[np.float64]
Real = NDArray[np.floating]

NEIGHBOURS = 5
KERNEL_EXPONENTS = (0.2, 0.5, 1.0, 2.0, 5.0)
BLOCK_ROWS = 1024  # rows of a distance matrix held at once


def frechet(real_ND: Double, fake_MD: Double) -> float:
    """Squared Frechet (2-Wasserstein) distance between Gaussians fitted to the two sets.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2), Dowson and Landau 1982, equation 4; FID is
    this on Inception features (Heusel et al. 2017). The symmetric form needs only eigenvalues of
    symmetric matrices, so it stays real and finite when there are fewer samples than dimensions
    and the covariances are singular. Covariances are divided by the count.

    It does not see: anything beyond mean and covariance (several modes, tails), memorised clips,
    and what the embedding does not tell apart. Biased upward at small counts, equally for equal
    counts. 0 or above, lower is better.
    """
    real_mean, fake_mean = real_ND.mean(0), fake_MD.mean(0)
    real_DD, fake_DD = _covariance(real_ND - real_mean), _covariance(fake_MD - fake_mean)
    root_DD = _symmetric_root(real_DD)
    product = root_DD @ fake_DD @ root_DD
    cross = np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0, None)).sum()
    distance = ((real_mean - fake_mean) ** 2).sum() + np.trace(real_DD) + np.trace(fake_DD) - 2 * cross
    return max(0.0, float(distance))


def _covariance(centred_ND: Double) -> Double:
    return centred_ND.T @ centred_ND / len(centred_ND)


def _symmetric_root(matrix_DD: Double) -> Double:
    values, vectors = np.linalg.eigh(matrix_DD)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def kernel_distance(real_ND: Double, fake_MD: Double) -> float:
    """Unbiased squared maximum mean discrepancy, Gretton et al. 2012, equation 3: at most 2.

    The kernel is the mean of rational quadratic ones (Binkowski et al. 2018, section 4.2) for
    vectors whose squared length is about 1, as space.py makes them. Its expectation does not depend
    on the counts and is 0 for equal distributions, so single values may be a little below 0.

    It does not see: memorised clips, how far away is what is far away (the kernel is bounded), and
    what the embedding does not tell apart. Lower is better. Needs two vectors or more on each side.
    """
    n, m = len(real_ND), len(fake_MD)
    real_sum = _kernel(squared_distances(real_ND, real_ND)).sum() - n  # a vector's kernel with itself is 1
    fake_sum = _kernel(squared_distances(fake_MD, fake_MD)).sum() - m
    cross = _kernel(squared_distances(real_ND, fake_MD)).mean()
    return float(real_sum / (n * (n - 1)) + fake_sum / (m * (m - 1)) - 2 * cross)


def _kernel(squared_NM: Real) -> Real:
    return np.mean([(1 + squared_NM / (2 * a)) ** -a for a in KERNEL_EXPONENTS], axis=0)


def polynomial_distance(real_ND: Real, fake_MD: Real) -> float:
    """Unbiased squared maximum mean discrepancy under the kernel (x.y / D + 1)^3.

    The "kernel distance" of Binkowski et al. 2018 (section 4; KID on Inception features), here on whatever
    the vectors are. It compares mean, covariance and skewness at once, without assuming Gaussians.
    Its expectation does not depend on the counts and is 0 for equal distributions, so single values
    may be a little below 0; it has no upper bound. Lower is better.

    It does not see: memorised clips, what differs in moments above the third alone, and what the
    embedding does not tell apart; clips under a wrong label hardly, beside all the other coordinates.
    Needs two vectors or more on each side.
    """
    real, fake = real_ND.astype(np.float64), fake_MD.astype(np.float64)
    n, m = len(real), len(fake)
    real_sum = _cubic(real, real).sum() - _cubic_of_itself(real).sum()
    fake_sum = _cubic(fake, fake).sum() - _cubic_of_itself(fake).sum()
    return float(real_sum / (n * (n - 1)) + fake_sum / (m * (m - 1)) - 2 * _cubic(real, fake).mean())


def _cubic(left_ND: Double, right_MD: Double) -> Double:
    inner_NM = left_ND @ right_MD.T / left_ND.shape[1] + 1
    return inner_NM * inner_NM * inner_NM  # numpy's ** 3 takes fifty times as long


def _cubic_of_itself(vectors_ND: Double) -> Double:
    return ((vectors_ND**2).mean(1) + 1) ** 3


def transport(real_ND: Real, fake_MD: Real) -> Double:
    """Wasserstein-1 distance between the two sets in each column alone: float64 [D], in the columns' units.

    The area between the two quantile functions (Vallender 1974), exact for any counts. Not a number where
    a column holds one.
    """
    real_DN = np.sort(np.ascontiguousarray(real_ND.T), axis=1)
    fake_DM = np.sort(np.ascontiguousarray(fake_MD.T), axis=1)
    n, m = real_DN.shape[1], fake_DM.shape[1]
    if n == m:
        return np.abs(real_DN - fake_DM).mean(1, dtype=np.float64)
    # Both quantile functions are constant between two neighbours of the multiples of 1/n and of 1/m.
    steps = np.array(sorted({i * m for i in range(n + 1)} | {j * n for j in range(m + 1)}), np.int64)
    gaps_DS = np.abs(real_DN[:, steps[:-1] // m] - fake_DM[:, steps[:-1] // n])
    return gaps_DS.astype(np.float64) @ (np.diff(steps) / (n * m))


@dataclass(frozen=True)
class Neighbourhoods:
    """Precision, recall, density and coverage; higher is better, 1 is the most but for density."""

    precision: float
    recall: float
    density: float
    coverage: float


def neighbourhoods(real_ND: Real, fake_MD: Real, k: int | None = None) -> Neighbourhoods:
    """Which generated vectors lie among the real ones, and the other way round, by k nearest neighbours.

    Precision and recall: Kynkaanniemi et al. 2019, equations 1 and 2. Density and coverage: Naeem et
    al. 2020, equations 4 and 6. A ball around each vector reaches to its k-th neighbour of its own
    set; `k` is 5, less with few vectors (see `neighbour_count`).

    Precision and density say whether samples look real, recall and coverage whether all kinds of
    real clips are made. One outlier widens a ball and spoils precision or recall; density and
    coverage are steadier. None of them sees memorised clips, and all depend on the counts and k.
    Precision and recall may miss a little blur and shuffled time, which leave clips within the wide balls.
    """
    if k is None:
        k = neighbour_count(min(len(real_ND), len(fake_MD)))
    real_radius_N, fake_radius_M = _radii(real_ND, k), _radii(fake_MD, k)
    inside_M = np.zeros(len(fake_MD), np.int64)  # in how many real balls a generated vector lies
    recalled_N = np.zeros(len(real_ND), np.bool_)
    covered_N = np.zeros(len(real_ND), np.bool_)
    for start in range(0, len(real_ND), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        distance_BM = squared_distances(real_ND[rows], fake_MD)
        hits_BM = distance_BM < real_radius_N[rows, None]
        inside_M += hits_BM.sum(0)
        covered_N[rows] = hits_BM.any(1)
        recalled_N[rows] = (distance_BM < fake_radius_M).any(1)
    return Neighbourhoods(
        precision=float((inside_M > 0).mean()),
        recall=float(recalled_N.mean()),
        density=float(inside_M.mean() / k),
        coverage=float(covered_N.mean()),
    )


def neighbour_count(count: int) -> int:
    """k for sets of `count` vectors: 5, but at most a quarter of them, and at least 1."""
    return max(1, min(NEIGHBOURS, count // 4))


def _radii(vectors_ND: Real, k: int) -> Real:
    """Squared distance of each vector to its k-th neighbour, itself not counted."""
    k = min(k, len(vectors_ND) - 1)
    radii = np.empty(len(vectors_ND), vectors_ND.dtype)
    for start in range(0, len(vectors_ND), BLOCK_ROWS):
        distance_BN = squared_distances(vectors_ND[start : start + BLOCK_ROWS], vectors_ND)
        radii[start : start + BLOCK_ROWS] = np.partition(distance_BN, k, axis=1)[:, k]
    return radii


def squared_distances(left_ND: Real, right_MD: Real) -> Real:
    """[N, M], never below 0; a distance far below the vectors' lengths has lost its digits."""
    squares = (left_ND**2).sum(1)[:, None] + (right_MD**2).sum(1)
    return np.maximum(squares - 2 * left_ND @ right_MD.T, 0)


def spread(vectors_ND: Double, labels_N: NDArray[np.int64]) -> float:
    """Mean distance between two different vectors of one label; 0 when each label has one clip only.

    It does not see: whether the vectors are any good, and a collapse to a few far-apart clips.
    """
    total, pairs = 0.0, 0
    for label in np.unique(labels_N):
        group = vectors_ND[labels_N == label]
        for vector in group:  # exact differences: equal clips must give exactly 0
            total += float(np.sqrt(((group - vector) ** 2).sum(1)).sum())
        pairs += len(group) * (len(group) - 1)
    return total / pairs if pairs else 0.0
