"""What the figures know of clips: arrays of equal length, by kind of view.

    clip, motion          embeddings (features.py); in the space of comparison once placed (space.py)
    temporal              how it moves and flickers (temporal.py)
    frames, xt, yt, changes   how small patches are distributed (sliced.py)
    novelty               distance to the nearest training clip, once placed

Shapes: N clips, T frames, H height, W width, C colours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import sliced, temporal
from .features import embed

Array = NDArray[Any]
UInt8 = NDArray[np.uint8]
Labels = NDArray[np.int64]
Extractor = Callable[[UInt8], Mapping[str, Array]]  # of clips [N, T, H, W, 3]: arrays [N, ...] by name


@dataclass(frozen=True)
class Views:
    """Views of N clips."""

    arrays: Mapping[str, Array]  # each [N, ...]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def take(self, indices: Labels | slice) -> Views:
        """The views of some of the clips."""
        return Views({name: array[indices] for name, array in self.arrays.items()})

    def beside(self, **others: Array) -> Views:
        """These views with others added, or in the place of those of equal name."""
        return Views({**self.arrays, **others})

    @classmethod
    def join(cls, parts: Sequence[Views]) -> Views:
        """The views of all clips of `parts`, in order."""
        return cls({name: np.concatenate([part[name] for part in parts]) for name in parts[0].arrays})


def embedding_views(clips_NTHWC: UInt8) -> dict[str, Array]:
    """The views "clip" and "motion", not yet placed."""
    embedding = embed(clips_NTHWC)
    return {"clip": embedding.clip_ND, "motion": embedding.motion_ND}


def pixel_views(clips_NTHWC: UInt8, seed: int) -> dict[str, Array]:
    """The views that are taken from pixels alone; equal seeds look at equal places."""
    return {"temporal": temporal.describe(clips_NTHWC), **sliced.describe(clips_NTHWC, seed)}


def look(clips_NTHWC: UInt8, seed: int) -> Views:
    """All views of clips, uint8 [N, T, H, W, 3], not yet placed."""
    return Views({**embedding_views(clips_NTHWC), **pixel_views(clips_NTHWC, seed)})
