"""The scale on which clips are compared: set by the real clips, equal for everything compared with them.

Raw features differ a hundredfold in size between layers. Each block is divided by its own total
standard deviation over the real clips, so every layer and every kind of pooling counts alike and
distances have a plain meaning: 1 is the variance of real clips. A fixed random rotation then keeps
`DIMENSIONS` directions (Johnson and Lindenstrauss 1984): fewer dimensions than features keep
covariances meaningful with a few dozen clips.

A class-conditional set is compared jointly with its labels (DeVries et al. 2019, Frechet joint
distance): the one-hot label is appended, so a clip that shows the wrong class is far away.

Shapes: N clips, D features, K kept directions, L labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .features import Embedding, clip_blocks, motion_blocks
from .neighbours import nearest
from .views import Views

DIMENSIONS = 64
SEED = 20_260_803
SMALLEST = 1e-6  # of a block's mean size: a block that real clips leave constant is not blown up

Double = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class _Axis:
    """Shift, scale per block and rotate."""

    mean_D: Double
    scale_D: Double
    rotation_DK: Double

    @classmethod
    def fit(cls, real_ND: Double, blocks: tuple[int, ...]) -> _Axis:
        mean_D = real_ND.mean(0)
        edges = itertools.accumulate(blocks, initial=0)
        scales: list[Double] = []
        for start, stop in itertools.pairwise(edges):
            block = real_ND[:, start:stop]
            size, total = float(np.linalg.norm(block.mean(0))), float(block.var(0).sum()) ** 0.5
            scales.append(np.full(stop - start, 1 / max(total, SMALLEST * (1 + size))))
        return cls(mean_D, np.concatenate(scales) / np.sqrt(len(blocks)), _rotation(len(mean_D)))

    @classmethod
    def restore(cls, mean_D: Double, scale_D: Double) -> _Axis:
        return cls(mean_D, scale_D, _rotation(len(mean_D)))

    def place(self, raw_ND: Double) -> Double:
        return ((raw_ND - self.mean_D) * self.scale_D) @ self.rotation_DK


def _rotation(width: int) -> Double:
    """[D, K] random orthonormal columns, scaled so that lengths are kept on average."""
    kept = min(DIMENSIONS, width)
    gaussian = np.random.default_rng(SEED).standard_normal((width, kept))
    return np.linalg.qr(gaussian)[0] * np.sqrt(width / kept)


@dataclass(frozen=True)
class Space:
    """Fitted once on the real clips; places real, generated and spoilt clips alike."""

    clip_axis: _Axis
    motion_axis: _Axis
    num_labels: int

    @classmethod
    def fit(cls, real: Embedding, num_labels: int) -> Space:
        """Take the scale from the embedding of the real clips; `num_labels` is 0 without classes."""
        return cls(
            _Axis.fit(real.clip_ND.astype(np.float64), clip_blocks()),
            _Axis.fit(real.motion_ND.astype(np.float64), motion_blocks()),
            num_labels,
        )

    @classmethod
    def restore(cls, arrays: Mapping[str, Double], num_labels: int) -> Space:
        """The space whose `arrays` these are; raises KeyError or ValueError when they are none's."""
        axes = [_Axis.restore(arrays[f"{name}_mean"], arrays[f"{name}_scale"]) for name in ("clip", "motion")]
        return cls(axes[0], axes[1], num_labels)

    def arrays(self) -> dict[str, Double]:
        """All that was fitted, to be kept."""
        axes = {"clip": self.clip_axis, "motion": self.motion_axis}
        means = {f"{name}_mean": axis.mean_D for name, axis in axes.items()}
        return means | {f"{name}_scale": axis.scale_D for name, axis in axes.items()}

    def clip(self, embedding: Embedding, labels_N: Labels) -> Double:
        """[N, K + L] coordinates of what is seen and how it moves."""
        return self._with_labels(self.bare(embedding), labels_N)

    def motion(self, embedding: Embedding, labels_N: Labels) -> Double:
        """[N, K + L] coordinates of how it moves."""
        return self._with_labels(self.motion_axis.place(embedding.motion_ND.astype(np.float64)), labels_N)

    def place(self, raw: Views, labels_N: Labels, train_MK: Double) -> Views:
        """Views of clips of these labels with "clip" and "motion" placed, and "novelty": the distance of each clip to
        the nearest of the training clips that `bare` has placed, whatever their labels."""
        embedding = Embedding(raw["clip"], raw["motion"])
        novelty_N, _ = nearest(self.bare(embedding), train_MK)
        clip_NK, motion_NK = self.clip(embedding, labels_N), self.motion(embedding, labels_N)
        return raw.beside(clip=clip_NK, motion=motion_NK, novelty=novelty_N)

    def bare(self, embedding: Embedding) -> Double:
        """[N, K] coordinates of what is seen and how it moves, without labels."""
        return self.clip_axis.place(embedding.clip_ND.astype(np.float64))

    def _with_labels(self, points_NK: Double, labels_N: Labels) -> Double:
        if not self.num_labels:
            return points_NK
        return np.concatenate([points_NK, np.eye(self.num_labels)[labels_N]], axis=1)
