"""Real clips for each step: held on the device when they fit, read by batch otherwise.

Shapes: N clips, B clips of a batch, C channels, T frames, H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from ..data.loader import ClipSet, batch_indices
from ..errors import BadInputError

RESIDENT_BYTES = 2 << 30


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


class ClipSource:
    """Batches of a clip set as a function of (seed, step).

    Raises:
        BadInputError: the set is empty.
    """

    def __init__(self, clips: ClipSet, device: torch.device, *, batch: int, seed: int, classes: bool) -> None:
        if not len(clips):
            raise BadInputError("the dataset has no training clips.", hint="Ingest more videos, or a smaller stride.")
        self.clips, self.device, self.batch, self.seed = clips, device, batch, seed
        self.labels = _tensor(clips.labels).to(device) if classes else None
        size = len(clips) * int(torch.Size(clips.shape_CTHW).numel())
        self.resident_NCTHW = self._read(range(len(clips))).to(device) if size <= RESIDENT_BYTES else None

    def _read(self, indices: range | list[int]) -> Tensor:
        return _tensor(self.clips.read(list(indices)))

    def at(self, step: int) -> tuple[Tensor, Tensor | None]:
        """uint8 clips [B, 3, T, H, W] and classes [B] of a step, on the device."""
        chosen = batch_indices(len(self.clips), self.batch, self.seed, step)
        index_B = _tensor(chosen).to(self.device)
        label_B = None if self.labels is None else self.labels[index_B]
        if self.resident_NCTHW is not None:
            return self.resident_NCTHW[index_B], label_B
        return self._read(chosen.tolist()).to(self.device), label_B
