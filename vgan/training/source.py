"""Real clips for each step: held on the device when they fit, else read ahead by a thread while the step runs.

Shapes: N clips, B clips of a batch, C channels, T frames, H height, W width.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from ..data.loading.loader import ClipSet, batch_indices
from ..data.loading.prefetch import AHEAD, Prefetcher
from ..errors import BadInputError

GPU_SHARE = 0.4  # of the free memory of a GPU that clips may take; the rest is for the networks
CPU_SHARE = 0.25  # of the available memory of the machine
READ_CLIPS = 256  # at a time, on the way to the device


def _tensor(array: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(array)  # pyright: ignore[reportUnknownMemberType]


def spare_bytes(device: torch.device) -> int:
    """Memory of the device that clips may take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * GPU_SHARE)
    return int(psutil.virtual_memory().available * CPU_SHARE)


class ClipSource:
    """Batches of a clip set as a function of (seed, step).

    `part` leaves of each batch those clips alone that are this rank's, on `sharing` processes of this machine.
    Whether the clips are on the device or are read for each step changes the speed, never a batch.

    Raises:
        BadInputError: the set is empty.
    """

    def __init__(
        self,
        clips: ClipSet,
        device: torch.device,
        *,
        batch: int,
        seed: int,
        classes: bool,
        part: slice = slice(None),
        sharing: int = 1,
    ) -> None:
        if not len(clips):
            raise BadInputError("the dataset has no training clips.", hint="Ingest more videos, or a smaller stride.")
        self.clips, self.device, self.batch, self.seed, self.part = clips, device, batch, seed, part
        self.waited_seconds = 0.0  # spent in `at`, all calls together: what reading costs the training
        self.labels = _tensor(clips.labels).to(device) if classes else None
        self.resident_NCTHW: Tensor | None = None
        self._copied: torch.cuda.Event | None = None
        if len(clips) * math.prod(clips.shape_CTHW) <= spare_bytes(device) // sharing:
            self.resident_NCTHW = self._load()
        self._ahead = None if self.resident_NCTHW is not None else self._prefetcher()

    def _load(self) -> Tensor:
        """All clips, on the device: uint8 [N, 3, T, H, W]."""
        num = len(self.clips)
        resident_NCTHW = torch.empty((num, *self.clips.shape_CTHW), dtype=torch.uint8, device=self.device)
        for start in range(0, num, READ_CLIPS):
            end = min(start + READ_CLIPS, num)
            resident_NCTHW[start:end] = _tensor(self.clips.read(range(start, end)))
        return resident_NCTHW

    def _prefetcher(self) -> Prefetcher:
        num, pinned = len(range(self.batch)[self.part]), self.device.type == "cuda"
        shape = (num, *self.clips.shape_CTHW)
        buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=pinned).numpy() for _ in range(AHEAD + 1)]
        return Prefetcher(self.clips, batch=self.batch, seed=self.seed, buffers=buffers, part=self.part)

    def at(self, step: int) -> tuple[Tensor, Tensor | None]:
        """uint8 clips [B, 3, T, H, W] and classes [B] of a step, on the device; valid until the next call."""
        started = time.perf_counter()
        index_B = _tensor(batch_indices(len(self.clips), self.batch, self.seed, step)[self.part])
        if self.device.type == "cuda":
            index_B = index_B.pin_memory()  # from where it travels without the host waiting for the device
        index_B = index_B.to(self.device, non_blocking=True)
        video_BCTHW = self._read(step) if self.resident_NCTHW is None else self.resident_NCTHW[index_B]
        label_B = None if self.labels is None else self.labels[index_B]
        self.waited_seconds += time.perf_counter() - started
        return video_BCTHW, label_B

    def _read(self, step: int) -> Tensor:
        assert self._ahead is not None
        if self._copied is not None:
            self._copied.synchronize()  # the buffer of the last step is written again from now on
        video_BCTHW = _tensor(self._ahead.at(step)).to(self.device, non_blocking=True)
        if self.device.type == "cuda":
            self._copied = torch.cuda.Event()
            self._copied.record()
        return video_BCTHW

    def close(self) -> None:
        """End the reading thread and close the shards."""
        if self._ahead is not None:
            self._ahead.close()
        self.clips.close()
